"""Accuracy-aware static int8: the most sensitive layers stay in fp32, as few as the budget needs.

First each group of layers is quantized alone and compared with fp32 on the same rows of train;
then groups go back to fp32, the most sensitive first, until the drop on those rows is within the
budget. The decision itself is stages/measure/budget.py.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.models.artifact import WEIGHTS
from stages.models.int8_artifact import count_quantized, export, load, tensor_bytes
from stages.plumbing.files import read_json, write_json
from stages.plumbing.section import Section
from stages.variants import Source

__all__ = ["Params", "build", "calibrate", "count_quantized", "export", "load", "tensor_bytes"]

SEED = 0


class Params(Section):
    max_f1_drop_points: float = Field(0.5, ge=0)  # of the task's first metric, on rows of train
    rows: int = Field(512, ge=1)  # of train, on which the drop is measured
    calibration_rows: int = Field(256, ge=1)
    percentile: float = Field(99.999, gt=50, le=100)  # of the activations inside their range
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows


def calibrate(source: Source, folder: Path, params: Section) -> None:
    """Write `sensitivity.csv` (a row per group), `decision.json` and `ranges.json`."""
    from stages.measure.budget import decide
    from stages.models.calibration import choose_rows, find_ranges, padded
    from stages.models.classifier import load_checkpoint
    from stages.models.quantizers import Activations
    from stages.models.sensitivity import PartlyQuantized, search

    assert isinstance(params, Params)
    model, metric = load_checkpoint(source.checkpoint), source.task.metrics[0]
    seen = choose_rows(source.train, params.calibration_rows, SEED)
    seen_work = padded(source.task, source.checkpoint, seen)
    ranges = find_ranges(model, seen_work, "percentile", params.percentile, params.bits)
    rows = choose_rows(source.train, params.rows, SEED + 1)
    work = padded(source.task, source.checkpoint, rows)
    partly = PartlyQuantized(model, Activations("static", bits=params.bits), ranges, work)
    table, tried = search(partly, metric, rows["label"].to_numpy(), params.max_f1_drop_points)
    decision = decide(tried, params.max_f1_drop_points)
    print(decision.reason)
    table["kept_in_fp32"] = table["group"].isin(decision.kept).astype(int)
    table.to_csv(folder / "sensitivity.csv", index=False, float_format="%.6g")
    facts = {"rows": rows["id"].tolist(), "tried": [asdict(each) for each in tried]}
    write_json(folder / "decision.json", asdict(decision) | facts)
    write_json(folder / "ranges.json", ranges)


def build(source: Source, folder: Path, params: Section) -> None:
    from stages.models import int8
    from stages.models.classifier import load_checkpoint
    from stages.models.layer_groups import quantize_except
    from stages.models.quantizers import Activations, Range

    assert isinstance(params, Params)
    ranges = {k: Range(*ends) for k, ends in read_json(source.calibration / "ranges.json").items()}
    for name in ("decision.json", "sensitivity.csv"):
        shutil.copyfile(source.calibration / name, folder / name)
    model, how = load_checkpoint(source.checkpoint), Activations("static", bits=params.bits)
    kept = read_json(folder / "decision.json")["kept"]
    int8.save(quantize_except(kept, model, how, ranges), folder / WEIGHTS)
