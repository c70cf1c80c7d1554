"""Building, storing, running and exporting torchao_int8."""

from pathlib import Path

from torch import nn

from stages.model.artifact import WEIGHTS, read_manifest, read_recipe
from stages.model.classifier import (
    check_finite,
    load_checkpoint,
    predictor,
    without_weights,
    write_onnx,
    written,
)
from stages.model.cpu import int8_overflows
from stages.model.ingredients import Skipped
from stages.model.overflow import announce
from stages.model.storage import tensor_bytes
from stages.model.tokens import Predict
from stages.plumbing.command import UserError
from stages.variants.torchao_int8 import layers
from stages.variants.torchao_int8.onnx_form import with_onnx_linears

__all__ = ["count_quantized", "export", "load", "quantize", "tensor_bytes"]


def quantize(checkpoint: Path, folder: Path, max_s_per_batch: float) -> None:
    """Write the FP32 model in `checkpoint` with torchao's Linears.

    Raises:
        Skipped: torchao is not installed, or a batch of 8 x 64 tokens takes longer.
        UserError: NaN or infinity in the weights.
    """
    recipe = read_recipe(checkpoint)
    again = f"dvc repro -f -s quantize@{recipe.task}-{recipe.seed}-torchao_int8 && dvc repro"
    try:
        layers.torchao()  # before transformers, which imports it with all its notes
    except layers.Missing as missing:
        raise Skipped(f"{missing}; {layers.INSTALL}, then {again}") from None
    module = load_checkpoint(checkpoint)
    for name, parameter in module.named_parameters():
        check_finite(name, parameter)
    reduce_range = int8_overflows()
    layers.quantize_linears(module, reduce_range)
    took = layers.seconds_per_batch(module, recipe.inputs, recipe.max_length, max_s_per_batch)
    if took > max_s_per_batch:
        raise Skipped(
            f"a batch of 8 x 64 tokens takes torchao about {took:.3g} s on this CPU, over the "
            f"{max_s_per_batch:g} s of quantize.torchao_int8.max_s_per_batch; with a higher "
            f"limit, or on another CPU (VNNI or AMX): {again}"
        )
    layers.save(module, folder / WEIGHTS, reduce_range)


def loaded(artifact: Path) -> nn.Module:
    """Raises UserError if torchao is not installed, or the weights belong to another model."""
    try:
        layers.torchao()
    except layers.Missing as missing:
        raise UserError(f"{missing}, so {artifact} cannot be loaded; {layers.INSTALL}") from None
    return layers.load(without_weights(artifact), artifact / WEIGHTS)


def load(artifact: Path) -> Predict:
    module = loaded(artifact)
    weights = [linear.weight for linear in layers.quantized_linears(module).values()]
    if not all(weight.reduce_range for weight in weights) and int8_overflows():
        announce(artifact, "rebuild it here")
    return predictor(module)


def count_quantized(artifact: Path) -> int:
    return len(layers.quantized_linears(loaded(artifact)))


def export(artifact: Path, folder: Path) -> list[str]:
    """ONNX only: torch.jit.trace does not see through torchao's tensors."""
    inputs, module = read_manifest(artifact).recipe.inputs, loaded(artifact)
    return written(
        {"model.onnx": lambda target: write_onnx(with_onnx_linears(module), inputs, target)}, folder
    )
