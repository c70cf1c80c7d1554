"""Post-training static quantization: activation ranges found beforehand, on training rows.

Nothing is measured at run time, so it has the least work per layer; but one range per tensor must
fit all texts. Weights per channel, embeddings in int8.
"""

import shutil
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.models.int8_artifact import count_quantized, export, load, quantize, tensor_bytes
from stages.plumbing.files import read_json, write_json
from stages.plumbing.section import Section
from stages.variants import Source

__all__ = ["Params", "build", "calibrate", "count_quantized", "export", "load", "tensor_bytes"]

SEED = 0


class Params(Section):
    rows: int = Field(256, ge=1)  # of train, chosen with a fixed seed
    method: Literal["percentile", "mse"] = "percentile"
    percentile: float = Field(99.999, gt=50, le=100)  # of the values inside the range
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows


def calibrate(source: Source, folder: Path, params: Section) -> None:
    """Write `ranges.json` (layer -> ends of its input) and `rows.json` (ids of the rows)."""
    from stages.models.calibration import choose_rows, find_ranges, padded
    from stages.models.classifier import load_checkpoint

    assert isinstance(params, Params)
    rows = choose_rows(source.train, params.rows, SEED)
    work = padded(source.task, source.checkpoint, rows)
    found = find_ranges(
        load_checkpoint(source.checkpoint), work, params.method, params.percentile, params.bits
    )
    write_json(folder / "ranges.json", found)
    write_json(folder / "rows.json", rows["id"].tolist())


def build(source: Source, folder: Path, params: Section) -> None:
    from stages.models.quantizers import Activations, Range

    assert isinstance(params, Params)
    ranges = {k: Range(*ends) for k, ends in read_json(source.calibration / "ranges.json").items()}
    shutil.copyfile(source.calibration / "rows.json", folder / "calibration_rows.json")
    how = Activations("static", bits=params.bits)
    quantize(source.checkpoint, folder, how, embeddings=True, ranges=ranges)
