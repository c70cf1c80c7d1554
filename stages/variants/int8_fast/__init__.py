"""int8_embeddings, multiplied by a kernel of our own and without the work that padding makes.

Weights get as many levels per channel as let a CPU without VNNI add up S products in 16 bits,
which no input can overflow (safe-L, see stages/engines/safe_l/rounding.py). The artifact is the
same for every CPU; what multiplies is chosen when it is loaded.
"""

from pathlib import Path

from pydantic import Field

from stages.variants import OWN_LIBRARY, Ingredients, Variant, VariantParams


class Params(VariantParams):
    # Of each layer, by its root mean square: the largest S that stays below it is taken.
    max_weight_error: float = Field(0.03, ge=0, lt=1)
    torchscript: bool = False  # an export also has model.pt, whose operators torch compiles


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.variants.int8_fast.engine import quantize

    quantize(ingredients.checkpoint, folder, params.max_weight_error)


def kernel() -> str:
    """What multiplies on this machine: `avx2`, `vnni`, `amx` or `library`."""
    from stages.variants.int8_fast.kernel.dispatch import choose_kernel

    return choose_kernel()


VARIANT = Variant(
    Params, build, "stages.variants.int8_fast.engine", kernel=kernel, needs=OWN_LIBRARY
)
