"""Dynamic quantization with one activation scale per token and one weight scale per channel.

A token's answer no longer depends on what else is in the batch, and an outlier in one token does
not coarsen all others. Embeddings stay in FP32.
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
    quantize(source.checkpoint, folder, how)
