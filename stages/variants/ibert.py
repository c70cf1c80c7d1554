"""I-BERT on a CPU: integers alone from token ids to logits, so the same bits everywhere.

After Kim et al., "I-BERT: Integer-only BERT Quantization", 2021 (arXiv 2101.01321), in other
formats: docs/ibert.md defines them, stages/engines/ibert/ builds
and runs them.
"""

from pathlib import Path

from pydantic import Field

from stages.plumbing.section import Rows
from stages.variants import OWN_LIBRARY, Ingredients, Variant, VariantParams


class Params(VariantParams):
    rows: Rows = 256  # of train, for the ranges of what has 16 bits
    max_weight_error: float = Field(0.03, ge=0, lt=1)  # as in int8_fast


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.ibert.engine import quantize

    quantize(ingredients, folder, params.max_weight_error, params.rows)


def kernel() -> str:
    """What multiplies on this machine."""
    from stages.engines.ibert.engine import fastest_kernel

    return fastest_kernel()


VARIANT = Variant(
    Params, build, "stages.engines.ibert.engine", kernel=kernel, counts=True, needs=OWN_LIBRARY
)
