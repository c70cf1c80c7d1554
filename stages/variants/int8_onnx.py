"""ONNX Runtime's dynamic quantization with signed int8 weights.

Fast where the CPU has VNNI; elsewhere on x86 the weights get 7 bits (`reduce_range: auto`), because
8-bit ones overflow there.
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

    onnx_runtime.build(source, folder, "int8", **params.model_dump())
