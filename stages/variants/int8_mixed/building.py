"""Deciding on training rows which groups of layers stay in fp32, and building what was decided."""

import shutil
from dataclasses import asdict
from pathlib import Path

from stages.engines.int8 import layers
from stages.engines.int8.calibration import (
    choose_rows,
    find_ranges,
    padded,
    read_ranges,
    write_ranges,
)
from stages.engines.int8.quantizers import Activations
from stages.model.artifact import WEIGHTS
from stages.model.classifier import load_checkpoint
from stages.model.ingredients import Ingredients
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.variants.int8_mixed.budget import decide
from stages.variants.int8_mixed.layer_groups import quantize_except
from stages.variants.int8_mixed.sensitivity import PartlyQuantized, search

SEED = 0


def decide_on_rows(
    ingredients: Ingredients,
    max_drop_points: float,
    rows: int,
    calibration_rows: int,
    percentile: float,
    bits: int,
) -> None:
    """Write `sensitivity.csv` (a row per group), `decision.json` and the ranges."""
    model, metric = load_checkpoint(ingredients.checkpoint), ingredients.task.metrics[0]
    calibrating = choose_rows(ingredients.train, calibration_rows, SEED)
    calibrating_batches = padded(ingredients.task, ingredients.checkpoint, calibrating)
    ranges = find_ranges(model, calibrating_batches, "percentile", percentile, bits)
    judging = choose_rows(ingredients.train, rows, SEED + 1)
    judging_batches = padded(ingredients.task, ingredients.checkpoint, judging)
    partly = PartlyQuantized(model, Activations("static", bits=bits), ranges, judging_batches)
    table, tried = search(partly, metric, judging["label"].to_numpy(), max_drop_points)
    decision = decide(tried, max_drop_points)
    print(decision.reason)
    table["kept_in_fp32"] = table["group"].isin(decision.kept).astype(int)
    table.to_csv(ingredients.learned / "sensitivity.csv", index=False, float_format="%.6g")
    facts = {"rows": judging["id"].tolist(), "tried": [asdict(each) for each in tried]}
    write_json(ingredients.learned / "decision.json", asdict(decision) | facts)
    write_ranges(ranges, ingredients.learned)


def quantize_as_decided(ingredients: Ingredients, folder: Path, bits: int) -> None:
    for name in ("decision.json", "sensitivity.csv"):
        shutil.copyfile(ingredients.learned / name, folder / name)
    kept = read_json(folder / "decision.json")["kept"]
    model, how = load_checkpoint(ingredients.checkpoint), Activations("static", bits=bits)
    quantized = quantize_except(kept, model, how, read_ranges(ingredients.learned))
    layers.save(quantized, folder / WEIGHTS)
