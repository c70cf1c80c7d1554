"""ONNX Runtime's dynamic quantization with unsigned uint8 weights.

They cannot overflow on any CPU, so all 8 bits are used even without VNNI (`reduce_range: auto`);
with VNNI they are slower than int8_onnx, whose instruction they cannot use.
"""

from pathlib import Path
from typing import Literal

from stages.variants import ONNX_RUNTIME, Ingredients, Variant, VariantParams


class Params(VariantParams):
    per_channel: bool = True
    reduce_range: Literal["auto"] | bool = "auto"
    embeddings: bool = True


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.onnx.building import build as build_onnx

    build_onnx(ingredients, folder, "uint8", **params.own())


VARIANT = Variant(Params, build, runs_on="stages.engines.onnx.engine", needs=ONNX_RUNTIME)
