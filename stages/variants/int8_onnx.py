"""ONNX Runtime's dynamic quantization with signed int8 weights.

Fast where the CPU has VNNI; elsewhere on x86 the weights get 7 bits (`reduce_range: auto`), because
8-bit ones overflow there.
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

    build_onnx(ingredients, folder, "int8", **params.own())


VARIANT = Variant(Params, build, runs_on="stages.engines.onnx.engine", needs=ONNX_RUNTIME)
