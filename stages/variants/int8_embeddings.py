"""int8_per_token, and the embeddings in int8 too: about a quarter of FP32 on disk.

In BERT-base the embeddings are a fifth of the weights, in MiniLM-L6 half of them. One scale per
row; looking a row up multiplies it back.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stages.models.artifact import WEIGHTS, read_manifest
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict
from stages.plumbing.section import Section
from stages.variants import Source

if TYPE_CHECKING:
    from torch import nn

    from stages.models.quantizers import Activations

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    bits: Literal[7, 8] = 7  # of the activations; with 8 the weights get 7, so none overflows


def activations(params: Params) -> "Activations":
    from stages.models.quantizers import Activations

    return Activations("per_token", bits=params.bits)


def build(source: Source, folder: Path, params: Section) -> None:
    from stages.models import int8
    from stages.models.classifier import load_checkpoint

    assert isinstance(params, Params)
    quantized = int8.quantize_layers(
        load_checkpoint(source.checkpoint), activations(params), embeddings=True
    )
    int8.save(quantized, folder / WEIGHTS)


def module(artifact: Path) -> "nn.Module":
    from stages.models import int8
    from stages.models.classifier import without_weights

    params = Params(**read_manifest(artifact).parameters)
    return int8.load(without_weights(artifact), artifact / WEIGHTS, activations(params))


def load(artifact: Path) -> Predict:
    from stages.models.classifier import predictor

    return predictor(module(artifact))


def count_quantized(artifact: Path) -> int:
    from stages.models.int8 import count

    return count(module(artifact))


def export(artifact: Path, folder: Path) -> list[str]:
    from stages.models.onnx_int8 import export_int8

    return export_int8(module(artifact), read_manifest(artifact).recipe.inputs, folder)
