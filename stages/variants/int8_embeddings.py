"""int8_per_token, and the embeddings in int8 too: about a quarter of FP32 on disk.

In BERT-base the embeddings are a fifth of the weights, in MiniLM-L6 half of them. One scale per
row; looking a row up multiplies it back.
"""

from pathlib import Path
from typing import Literal

from stages.models.int8_artifact import count_quantized, export, load, quantize, tensor_bytes
from stages.plumbing.section import Section
from stages.variants import Source

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    bits: Literal[7, 8] = 7  # of the activations; with 8 the weights get 7, so none overflows


def build(source: Source, folder: Path, params: Section) -> None:
    from stages.models.quantizers import Activations

    assert isinstance(params, Params)
    how = Activations("per_token", bits=params.bits)
    quantize(source.checkpoint, folder, how, embeddings=True)
