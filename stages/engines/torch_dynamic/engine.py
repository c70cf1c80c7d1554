"""What all variants of torch's dynamic quantization share: building, running, exporting."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from stages.engines.torch_dynamic import layers
from stages.engines.torch_dynamic.onnx_form import with_onnx_linears
from stages.model.artifact import WEIGHTS, read_manifest
from stages.model.classifier import (
    load_checkpoint,
    predictor,
    without_weights,
    write_onnx,
    write_torchscript,
    written,
)
from stages.model.storage import tensor_bytes
from stages.model.tokens import Predict

__all__ = ["count_quantized", "export", "load", "quantize", "tensor_bytes"]

ENGINE = "fbgemm"  # of a variant that leaves no choice


def quantize(checkpoint: Path, folder: Path, weights: str, engine: str = ENGINE) -> None:
    """Write the FP32 model in `checkpoint` with quantized Linears.

    Args:
        weights: a key of `layers.CONFIGS`; with `float16` embeddings are stored so too.
        engine: multiplies; `load` finds it in the variant's parameters, if it is one of them.

    Raises:
        UserError: this build of torch lacks the engine.
    """
    layers.use_engine(engine)
    quantized = layers.quantize_linears(load_checkpoint(checkpoint), weights)
    for child in quantized.modules():
        if weights == "float16" and isinstance(child, nn.Embedding):
            child.half()
    layers.save(quantized, folder / WEIGHTS)


def loaded(artifact: Path) -> nn.Module:
    layers.use_engine(read_manifest(artifact).parameters.get("engine", ENGINE))
    return layers.load(without_weights(artifact), artifact / WEIGHTS)


def load(artifact: Path) -> Predict:
    return predictor(loaded(artifact))


def count_quantized(artifact: Path) -> int:
    return len(layers.quantized_linears(loaded(artifact)))


def export(artifact: Path, folder: Path) -> list[str]:
    inputs, module = read_manifest(artifact).recipe.inputs, loaded(artifact)
    forms: dict[str, Callable[[Path], None]] = {
        "model.pt": lambda target: write_torchscript(module, inputs, target),
        "model.onnx": lambda target: write_onnx(with_onnx_linears(module), inputs, target),
    }
    return written(forms, folder)
