"""int8_per_token, and the embeddings in int8 too: about a quarter of FP32 on disk.

In BERT-base the embeddings are a fifth of the weights, in MiniLM-L6 half of them. One scale per
row; looking a row up multiplies it back.
"""

from pathlib import Path
from typing import Literal

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    bits: Literal[7, 8] = 7  # of the activations; with 8 the weights get 7, so none overflows


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.int8.engine import quantize
    from stages.engines.int8.quantizers import Activations

    how = Activations("per_token", bits=params.bits)
    quantize(ingredients.checkpoint, folder, how, embeddings=True)


VARIANT = Variant(Params, build, runs_on="stages.engines.int8.engine")
