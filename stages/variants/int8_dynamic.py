"""PyTorch's dynamic quantization: int8 Linear weights, activations quantized per batch.

As in PyTorch's tutorial "Dynamic Quantization on BERT": one scale per weight tensor, asymmetric
activations. Embeddings, LayerNorm, softmax and GELU stay in FP32.
"""

from pathlib import Path
from typing import Literal

from stages.models.torch_dynamic_artifact import (
    count_quantized,
    export,
    load,
    quantize,
    tensor_bytes,
)
from stages.plumbing.section import Section
from stages.variants import Source

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    engine: Literal["x86", "fbgemm", "onednn", "qnnpack"] = "x86"


def build(source: Source, folder: Path, params: Section) -> None:
    assert isinstance(params, Params)
    quantize(source.checkpoint, folder, "per_tensor", params.engine)
