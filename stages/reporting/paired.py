"""A variant against fp32 on the same texts: one seed's row of numbers, and all seeds' together.

Keys of validation, which decides, have no prefix; those of another split begin with its name.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from stages import variants
from stages.dataset.task import Task, prefix_of
from stages.measure import statistics
from stages.measure.accuracy import same_answers
from stages.measure.verdict import verdict
from stages.plumbing import paths
from stages.plumbing.files import read_json
from stages.settings.params import Compare


class Answers(NamedTuple):
    """Labels and both models' answers on the same texts, shape (n,) each."""

    labels: np.ndarray
    fp32: np.ndarray
    ours: np.ndarray


def aligned(task: Task, seed: int, name: str, split: str) -> Answers:
    files = [paths.predictions(task.name, seed, each) for each in (name, variants.REFERENCE)]
    ours, fp32 = (pd.read_csv(file, dtype={"id": str}, keep_default_na=False) for file in files)
    ours, fp32 = ours[ours["split"] == split], fp32[fp32["split"] == split]
    assert ours["id"].tolist() == fp32["id"].tolist(), "evaluate keeps the rows in order"
    columns = (ours["label"], fp32["predicted"], ours["predicted"])
    kind = float if task.regression else int
    return Answers(*(column.to_numpy(dtype=kind) for column in columns))


def accuracy_row(task: Task, seed: int, name: str, settings: Compare) -> dict[str, float | str]:
    """One seed; validation decides, the other splits, on which nothing was chosen, stand beside it.

    A classification has McNemar's p, a regression Wilcoxon's.
    """
    scores = read_json(paths.accuracy(task.name, seed, name))
    fp32_scores = read_json(paths.accuracy(task.name, seed, variants.REFERENCE))
    headline = task.metrics[0]
    row: dict[str, float | str] = {"variant": name, "seed": seed}
    bootstrap = (settings.bootstrap_samples, settings.confidence)
    for split in task.scored:
        rows, prefix = aligned(task, seed, name, split), prefix_of(split)
        row |= {f"{prefix}{metric}": scores[split][metric] for metric in task.metrics}
        own = statistics.metric_interval(headline, rows.labels, rows.ours, *bootstrap)
        row |= {f"{prefix}{headline}_low": own.low, f"{prefix}{headline}_high": own.high}
        for metric in task.metrics:
            drop = 100 * (fp32_scores[split][metric] - scores[split][metric])
            spread = statistics.paired_drop_interval(
                metric, rows.labels, [rows.fp32], [rows.ours], *bootstrap
            )
            row |= {
                f"{prefix}{metric}_drop_points": drop,
                f"{prefix}{metric}_drop_low": spread.low,
                f"{prefix}{metric}_drop_high": spread.high,
            }
        same = same_answers(rows.ours, rows.fp32, rows.labels)
        row |= {
            f"{prefix}agreement_pct": 100 * float(same.mean()),
            f"{prefix}disagreements": int((~same).sum()),
            f"{prefix}{p_name(task)}": p_value(task, rows),
            f"{prefix}n": len(rows.labels),
        }
    row[f"majority_{headline}"] = scores["validation"][f"majority_{headline}"]
    return row


def p_name(task: Task) -> str:
    return "wilcoxon_p" if task.regression else "mcnemar_p"


def p_value(task: Task, rows: Answers) -> float:
    if task.regression:
        errors = (np.abs(rows.fp32 - rows.labels), np.abs(rows.ours - rows.labels))
        return statistics.wilcoxon(*errors)
    return statistics.mcnemar(rows.fp32 == rows.labels, rows.ours == rows.labels)


def over_seeds(by_seed: list[dict], task: Task, settings: Compare) -> dict[str, float | str]:
    """The first seed's row, whose model ships, and over all seeds mean, median, worst, verdict.

    Validation decides. Its verdict is about the mean drop: what a seed adds by chance to one model
    it also takes from another.
    """
    row = {key: value for key, value in by_seed[0].items() if key != "variant"}
    name, seeds = by_seed[0]["variant"], [seed["seed"] for seed in by_seed]
    row["seeds"], headline = len(seeds), task.metrics[0]
    for split in task.scored:
        prefix = prefix_of(split)
        answers = [aligned(task, seed, name, split) for seed in seeds]
        spread = statistics.paired_drop_interval(
            headline,
            answers[0].labels,
            [each.fp32 for each in answers],
            [each.ours for each in answers],
            settings.bootstrap_samples,
            settings.confidence,
        )
        scores = [seed[f"{prefix}{headline}"] for seed in by_seed]
        drops = [seed[f"{prefix}{headline}_drop_points"] for seed in by_seed]
        row |= {
            f"{prefix}{headline}_mean": float(np.mean(scores)),
            f"{prefix}{headline}_min": min(scores),
            f"{prefix}{headline}_max": max(scores),
            f"{prefix}{headline}_drop_mean_points": float(np.mean(drops)),
            f"{prefix}{headline}_drop_mean_low": spread.low,
            f"{prefix}{headline}_drop_mean_high": spread.high,
            f"{prefix}{headline}_drop_median_points": float(np.median(drops)),
            f"{prefix}{headline}_drop_worst_points": max(drops),
        }
        if split == "validation":
            row["verdict"] = verdict(spread, settings.max_drop_points)
    if name == variants.REFERENCE:
        row["verdict"] = "reference"
    return row


def seeds_table(by_seed: list[dict], task: Task) -> pd.DataFrame:
    """One row per split, variant and seed: `drop_points` and `p`."""
    return pd.DataFrame(
        {
            "variant": row["variant"],
            "seed": row["seed"],
            "split": split,
            "drop_points": row[f"{prefix_of(split)}{task.metrics[0]}_drop_points"],
            "p": row[f"{prefix_of(split)}{p_name(task)}"],
        }
        for split in task.scored
        for row in by_seed
    )
