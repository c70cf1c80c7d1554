"""Dynamic quantization with symmetric activations, one scale per weight tensor and per batch.

Differs from int8_dynamic in the symmetry alone: PyTorch's tutorial credits asymmetry for its lead
over Q8BERT's symmetric 0.8788, and this row shows what it is worth here. The arithmetic is our own
(stages/engines/int8/), because torch's dynamic operator has no symmetric mode.
"""

from pathlib import Path
from typing import Literal

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    bits: Literal[7, 8] = 7  # of the activations; with 8 the weights get 7, so none overflows


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.int8.engine import quantize
    from stages.engines.int8.quantizers import Activations

    how = Activations("per_tensor", symmetric=True, bits=params.bits)
    quantize(ingredients.checkpoint, folder, how, per_channel=False)


VARIANT = Variant(Params, build, runs_on="stages.engines.int8.engine")
