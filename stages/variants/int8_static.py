"""Post-training static quantization: activation ranges found beforehand, on training rows.

Nothing is measured at run time, so it has the least work per layer; but one range per tensor must
fit all texts. Weights per channel, embeddings in int8.
"""

import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.plumbing.files import write_json
from stages.plumbing.section import Rows
from stages.variants import Ingredients, Variant, VariantParams

SEED = 0


class Params(VariantParams):
    rows: Rows = 256  # of train, chosen with a fixed seed
    method: Literal["percentile", "mse"] = "percentile"
    percentile: float = Field(99.999, gt=50, le=100)  # of the values inside the range
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows


def calibrate(ingredients: Ingredients, params: Params) -> None:
    """Write the range of each layer's input, and `rows.json`: ids of the rows that gave them."""
    from stages.engines.int8.calibration import choose_rows, find_ranges, padded, write_ranges
    from stages.model.classifier import load_checkpoint

    rows = choose_rows(ingredients.train, params.rows, SEED)
    padded_batches = padded(ingredients.task, ingredients.checkpoint, rows)
    module = load_checkpoint(ingredients.checkpoint)
    ranges = find_ranges(module, padded_batches, params.method, params.percentile, params.bits)
    write_ranges(ranges, ingredients.learned)
    write_json(ingredients.learned / "rows.json", rows["id"].tolist())


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.int8.calibration import read_ranges
    from stages.engines.int8.engine import quantize
    from stages.engines.int8.quantizers import Activations

    shutil.copyfile(ingredients.learned / "rows.json", folder / "calibration_rows.json")
    how, ranges = Activations("static", bits=params.bits), read_ranges(ingredients.learned)
    quantize(ingredients.checkpoint, folder, how, embeddings=True, ranges=ranges)


VARIANT = Variant(Params, build, "stages.engines.int8.engine", calibrate)
