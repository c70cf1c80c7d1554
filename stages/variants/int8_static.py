"""Post-training static quantization: activation ranges found beforehand, on training rows.

Nothing is measured at run time, so it has the least work per layer; but one range per tensor must
fit all texts. Weights per channel, embeddings in int8.
"""

import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.plumbing.files import write_json
from stages.plumbing.section import Section
from stages.variants import Source, Variant

SEED = 0


class Params(Section):
    rows: int = Field(256, ge=1)  # of train, chosen with a fixed seed
    method: Literal["percentile", "mse"] = "percentile"
    percentile: float = Field(99.999, gt=50, le=100)  # of the values inside the range
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows


def calibrate(source: Source, params: Params) -> None:
    """Write the range of each layer's input, and `rows.json`: ids of the rows that gave them."""
    from stages.engines.int8.calibration import choose_rows, find_ranges, padded, write_ranges
    from stages.model.classifier import load_checkpoint

    rows = choose_rows(source.train, params.rows, SEED)
    padded_batches = padded(source.task, source.checkpoint, rows)
    module = load_checkpoint(source.checkpoint)
    ranges = find_ranges(module, padded_batches, params.method, params.percentile, params.bits)
    write_ranges(ranges, source.learned)
    write_json(source.learned / "rows.json", rows["id"].tolist())


def build(source: Source, folder: Path, params: Params) -> None:
    from stages.engines.int8.artifact import quantize
    from stages.engines.int8.calibration import read_ranges
    from stages.engines.int8.quantizers import Activations

    shutil.copyfile(source.learned / "rows.json", folder / "calibration_rows.json")
    how, ranges = Activations("static", bits=params.bits), read_ranges(source.learned)
    quantize(source.checkpoint, folder, how, embeddings=True, ranges=ranges)


VARIANT = Variant(Params, build, "stages.engines.int8.artifact", calibrate)
