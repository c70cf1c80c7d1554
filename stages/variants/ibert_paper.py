"""I-BERT in the paper's own formats, as transformers simulates them, after calibration alone.

A reference and no product: all is computed in float32, so it is larger and slower than fp32. What
it shows is what these formats cost in accuracy, beside those of `ibert`.
"""

from pathlib import Path

from stages.plumbing.section import Rows
from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    rows: Rows = 256  # of train, for the activation ranges


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.ibert_simulation.simulation import calibrated, introduce, save
    from stages.model.artifact import WEIGHTS

    save(calibrated(ingredients, params.rows), folder / WEIGHTS)
    introduce("ibert_paper")


VARIANT = Variant(Params, build, "stages.engines.ibert_simulation.engine", ships=False)
