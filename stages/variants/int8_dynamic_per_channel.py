"""PyTorch's dynamic quantization with one weight scale per output channel.

Otherwise as int8_dynamic: activations are quantized per batch, asymmetric, in 7 bits.
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
    quantize(source.checkpoint, folder, "per_channel", params.engine)
