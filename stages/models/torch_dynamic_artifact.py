"""What all variants of torch's dynamic quantization have in common: storing, running, exporting.

Nothing heavy is imported at the top, because params.yaml is checked without it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.models.artifact import WEIGHTS, read_manifest
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict

if TYPE_CHECKING:
    from torch import nn

__all__ = ["count_quantized", "export", "load", "quantize", "tensor_bytes"]

ENGINE = "fbgemm"  # of a variant that leaves no choice


def quantize(checkpoint: Path, folder: Path, weights: str, engine: str = ENGINE) -> None:
    """Write the FP32 model in `checkpoint` with quantized Linears.

    Args:
        weights: a key of `torch_dynamic.CONFIGS`; with `float16` embeddings are stored so too.
        engine: multiplies; `load` finds it in the variant's parameters, if it is one of them.

    Raises:
        UserError: this build of torch lacks the engine.
    """
    from torch.nn import Embedding

    from stages.models import torch_dynamic
    from stages.models.classifier import load_checkpoint

    torch_dynamic.use_engine(engine)
    quantized = torch_dynamic.quantize_linears(load_checkpoint(checkpoint), weights)
    for child in quantized.modules():
        if weights == "float16" and isinstance(child, Embedding):
            child.half()
    torch_dynamic.save(quantized, folder / WEIGHTS)


def loaded(artifact: Path) -> "nn.Module":
    from stages.models import torch_dynamic
    from stages.models.classifier import without_weights

    torch_dynamic.use_engine(read_manifest(artifact).parameters.get("engine", ENGINE))
    return torch_dynamic.load(without_weights(artifact), artifact / WEIGHTS)


def load(artifact: Path) -> Predict:
    from stages.models.classifier import predictor

    return predictor(loaded(artifact))


def count_quantized(artifact: Path) -> int:
    from stages.models.torch_dynamic import quantized_linears

    return len(quantized_linears(loaded(artifact)))


def export(artifact: Path, folder: Path) -> list[str]:
    from stages.models.classifier import write_onnx, write_torchscript
    from stages.models.torch_dynamic import with_onnx_linears

    inputs, module = read_manifest(artifact).recipe.inputs, loaded(artifact)
    write_torchscript(module, inputs, folder / "model.pt")
    write_onnx(with_onnx_linears(module), inputs, folder / "model.onnx")
    return ["model.pt", "model.onnx"]
