"""ONNX Runtime's dynamic quantization with unsigned uint8 weights.

They cannot overflow on any CPU, so all 8 bits are used even without VNNI (`reduce_range: auto`);
with VNNI they are slower than int8_onnx, whose instruction they cannot use.
"""

from pathlib import Path
from typing import Literal

from stages.models.onnx_artifact import count_quantized, export, load, tensor_bytes
from stages.plumbing.section import Section
from stages.variants import Source

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    per_channel: bool = True
    reduce_range: Literal["auto"] | bool = "auto"
    embeddings: bool = True


def build(source: Source, folder: Path, params: Section) -> None:
    from stages.models import onnx_runtime

    onnx_runtime.build(source, folder, "uint8", **params.model_dump())
