"""PyTorch's dynamic quantization with one weight scale per output channel.

Otherwise as int8_dynamic: activations are quantized per batch, asymmetric, in 7 bits.
"""

from pathlib import Path
from typing import Literal

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    engine: Literal["x86", "fbgemm", "onednn", "qnnpack"] = "x86"


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.torch_dynamic.engine import quantize

    quantize(ingredients.checkpoint, folder, "per_channel", params.engine)


VARIANT = Variant(Params, build, runs_on="stages.engines.torch_dynamic.engine")
