"""What all variants of our own int8 layers have in common: building, running, exporting."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from stages.engines.int8 import layers
from stages.engines.int8.onnx_form import with_onnx_linears
from stages.engines.int8.quantizers import Activations, Range
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


def quantize(
    checkpoint: Path,
    folder: Path,
    how: Activations,
    *,
    per_channel: bool = True,
    embeddings: bool = False,
    ranges: dict[str, Range] | None = None,
) -> None:
    """Write every Linear of the FP32 model in `checkpoint` as int8; see `quantize_layers`."""
    module = load_checkpoint(checkpoint)
    keep = layers.read_otherwise(module)
    layers.quantize_layers(
        module, how, per_channel=per_channel, embeddings=embeddings, keep=keep, ranges=ranges
    )
    layers.save(module, folder / WEIGHTS)


def loaded(artifact: Path) -> nn.Module:
    return layers.load(without_weights(artifact), artifact / WEIGHTS)


def load(artifact: Path) -> Predict:
    return predictor(loaded(artifact))


def count_quantized(artifact: Path) -> int:
    return layers.count(loaded(artifact))


def export(artifact: Path, folder: Path) -> list[str]:
    inputs, module = read_manifest(artifact).recipe.inputs, loaded(artifact)
    forms: dict[str, Callable[[Path], None]] = {
        "model.pt": lambda target: write_torchscript(module, inputs, target),
        "model.onnx": lambda target: write_onnx(with_onnx_linears(module), inputs, target),
    }
    return written(forms, folder)
