"""Dynamic quantization with one activation scale per token and one weight scale per channel.

A token's answer no longer depends on what else is in the batch, and an outlier in one token does
not coarsen all others. Embeddings stay in FP32.
"""

from pathlib import Path
from typing import Literal

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    bits: Literal[7, 8] = 7  # of the activations; with 8 the weights get 7, so none overflows


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.int8.engine import quantize
    from stages.engines.int8.quantizers import Activations

    quantize(ingredients.checkpoint, folder, Activations("per_token", bits=params.bits))


VARIANT = Variant(Params, build, runs_on="stages.engines.int8.engine")
