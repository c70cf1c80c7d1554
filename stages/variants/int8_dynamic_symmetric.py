"""Dynamic quantization with symmetric activations, one scale per weight tensor and per batch.

Differs from int8_dynamic in the symmetry alone: PyTorch's tutorial credits asymmetry for its lead
over Q8BERT's symmetric 0.8788, and this row shows what it is worth here. The arithmetic is our own
(stages/models/int8.py), because torch's dynamic operator has no symmetric mode.
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
    how = Activations("per_tensor", symmetric=True, bits=params.bits)
    quantize(source.checkpoint, folder, how, per_channel=False)
