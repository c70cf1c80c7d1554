"""What all variants of our own int8 layers (int8.py) have in common: storing, running, exporting.

Nothing heavy is imported at the top, because params.yaml is checked without it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.models.artifact import WEIGHTS, read_manifest
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict

if TYPE_CHECKING:
    from torch import nn

    from stages.models.quantizers import Activations, Range

__all__ = ["count_quantized", "export", "load", "quantize", "tensor_bytes"]


def quantize(
    checkpoint: Path,
    folder: Path,
    how: "Activations",
    *,
    per_channel: bool = True,
    embeddings: bool = False,
    ranges: "dict[str, Range] | None" = None,
) -> None:
    """Write every Linear of the FP32 model in `checkpoint` as int8; see `int8.quantize_layers`."""
    from stages.models import int8
    from stages.models.classifier import load_checkpoint

    module = load_checkpoint(checkpoint)
    int8.quantize_layers(module, how, per_channel=per_channel, embeddings=embeddings, ranges=ranges)
    int8.save(module, folder / WEIGHTS)


def loaded(artifact: Path) -> "nn.Module":
    from stages.models import int8
    from stages.models.classifier import without_weights

    return int8.load(without_weights(artifact), artifact / WEIGHTS)


def load(artifact: Path) -> Predict:
    from stages.models.classifier import predictor

    return predictor(loaded(artifact))


def count_quantized(artifact: Path) -> int:
    from stages.models.int8 import count

    return count(loaded(artifact))


def export(artifact: Path, folder: Path) -> list[str]:
    from stages.models.onnx_int8 import export_int8

    return export_int8(loaded(artifact), read_manifest(artifact).recipe.inputs, folder)
