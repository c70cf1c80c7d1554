"""torchao's dynamic quantization, the announced successor of torch's quantize_dynamic.

One weight scale per output channel, one activation scale per token, both symmetric; embeddings stay
in FP32. Not compiled: as `quantize_` leaves it, which on some CPUs is far slower than FP32.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from stages.models.artifact import WEIGHTS, read_manifest, read_recipe
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict
from stages.plumbing.command import UserError
from stages.plumbing.section import Section
from stages.variants import Skipped, Source

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    max_s_per_batch: float = Field(20.0, gt=0)  # 8 x 64 tokens; slower ones are of no use


def build(source: Source, folder: Path, params: Section) -> None:
    from stages.measure.environment import instruction_set
    from stages.models import torchao_linear
    from stages.models.classifier import load_checkpoint
    from stages.models.quantizers import check_finite

    assert isinstance(params, Params)
    recipe = read_recipe(source.checkpoint)
    again = f"dvc repro -f -s quantize@{recipe.task}-{recipe.seed}-torchao_int8 && dvc repro"
    try:
        torchao_linear.torchao()  # before transformers, which imports it with all its notes
    except torchao_linear.Missing as missing:
        raise Skipped(f"{missing}; {torchao_linear.INSTALL}, then {again}") from None
    module = load_checkpoint(source.checkpoint)
    for name, parameter in module.named_parameters():
        check_finite(name, parameter)
    reduced = "vnni" not in instruction_set()
    torchao_linear.quantize_linears(module, reduced)
    limit = params.max_s_per_batch
    found = torchao_linear.seconds_per_batch(module, recipe.inputs, recipe.max_length, limit)
    if found > limit:
        raise Skipped(
            f"a batch of 8 x 64 tokens takes torchao about {found:.3g} s on this CPU, over the "
            f"{limit:g} s of quantize.torchao_int8.max_s_per_batch; with a higher "
            f"limit, or on another CPU (VNNI or AMX): {again}"
        )
    torchao_linear.save(module, folder / WEIGHTS, reduced)


def loaded(artifact: Path) -> "nn.Module":
    """Raises UserError if torchao is not installed, or the weights belong to another model."""
    from stages.models import torchao_linear
    from stages.models.classifier import without_weights

    try:
        torchao_linear.torchao()
    except torchao_linear.Missing as missing:
        raise UserError(
            f"{missing}, so {artifact} cannot be loaded; {torchao_linear.INSTALL}"
        ) from None
    return torchao_linear.load(without_weights(artifact), artifact / WEIGHTS)


def load(artifact: Path) -> Predict:
    from stages.measure.environment import instruction_set
    from stages.models.classifier import predictor
    from stages.models.overflow import announce
    from stages.models.torchao_linear import quantized_linears

    module = loaded(artifact)
    weights = [linear.weight for linear in quantized_linears(module).values()]
    if not all(weight.reduce_range for weight in weights) and "vnni" not in instruction_set():
        announce(artifact, "rebuild it here")
    return predictor(module)


def count_quantized(artifact: Path) -> int:
    from stages.models.torchao_linear import quantized_linears

    return len(quantized_linears(loaded(artifact)))


def export(artifact: Path, folder: Path) -> list[str]:
    """ONNX only: torch.jit.trace does not see through torchao's tensors."""
    from stages.models.classifier import write_onnx
    from stages.models.torchao_linear import with_onnx_linears

    inputs, module = read_manifest(artifact).recipe.inputs, with_onnx_linears(loaded(artifact))
    write_onnx(module, inputs, folder / "model.onnx")
    return ["model.onnx"]
