"""Accuracy-aware static int8: the most sensitive layers stay in fp32, as few as the budget needs.

First each group of layers is quantized alone and compared with fp32 on the same rows of train;
then groups go back to fp32, the most sensitive first, until the drop on those rows is within the
budget. The decision itself is budget.py, the search around it sensitivity.py; building.py does both
and builds what was decided.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.plumbing.section import Rows
from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    # Of the task's first metric on rows of train, where the model is surer than on unseen texts: so
    # less than what is wanted there.
    max_drop_points: float = Field(0.25, ge=0, le=100)
    rows: Rows = 512  # of train, on which the drop is measured
    calibration_rows: Rows = 256
    percentile: float = Field(99.999, gt=50, le=100)  # of the activations inside their range
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows


def calibrate(ingredients: Ingredients, params: Params) -> None:
    from stages.variants.int8_mixed.building import decide_on_rows

    decide_on_rows(ingredients, **params.own())


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.variants.int8_mixed.building import quantize_as_decided

    quantize_as_decided(ingredients, folder, params.bits)


VARIANT = Variant(Params, build, "stages.engines.int8.engine", calibrate)
