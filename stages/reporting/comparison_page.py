"""The comparison as Markdown: what is printed, and pasted into a pull request."""

from dataclasses import dataclass

import pandas as pd

from stages import variants
from stages.dataset.task import Task, prefix_of
from stages.measure.selection import Choice
from stages.measure.statistics import mean_interval
from stages.model.artifact import WARNINGS
from stages.plumbing import paths
from stages.plumbing.files import read_json
from stages.reporting.markdown_table import pipe_table
from stages.reporting.paired import p_name
from stages.settings.params import Compare, Latency

TEST_NAMES = {"mcnemar_p": "McNemar p", "wilcoxon_p": "Wilcoxon p"}
MAX_CLASSES = 20  # in the page; all of them stand in per_class.csv


@dataclass(frozen=True)
class Comparison:
    """What stage compare found.

    Attributes:
        rows: by variant, as in metrics/<task>/compare/.
        seeds: `variant`, `seed`, `split`, `drop_points`, `p`; one row of each.
        classes: `variant`, `class`, `precision`, `recall`, `f1`, `support` on validation.
        skipped: variant -> why there is no row of it.
        choice: what `export.variant: auto` would ship.
    """

    rows: dict[str, dict]
    seeds: pd.DataFrame
    classes: pd.DataFrame
    skipped: dict[str, str]
    choice: Choice


def markdown(task: Task, found: Comparison, settings: Compare, timing: Latency) -> str:
    """All in one table, then the first seed, drops of all seeds, cost, and what it all means."""
    headline, rows = task.metrics[0], found.rows
    any_row, environment = next(iter(rows.values())), read_json(paths.ENVIRONMENT)
    several = any_row["seeds"] > 1
    parts = [f"### {task.name}"]
    parts.append(pipe_table([summary_cells(name, row, task) for name, row in rows.items()]))
    parts.append(f"`export.variant: auto` ships {found.choice.variant}: {found.choice.reason}.")
    parts += [f"{name}: SKIPPED, {reason}." for name, reason in found.skipped.items()]
    for split in task.scored:
        seed = f", seed {any_row['seed']}" if several else ""
        cells = [accuracy_cells(name, row, split, task) for name, row in rows.items()]
        parts += [f"{split}, {any_row[f'{prefix_of(split)}n']} texts{seed}:", pipe_table(cells)]
    test = TEST_NAMES[p_name(task)]
    for split in task.scored if several else ():
        mine = found.seeds[found.seeds["split"] == split]
        metric = f"{prefix_of(split)}{headline}"
        cells = [
            seed_cells(name, mine, row, metric, settings.confidence) for name, row in rows.items()
        ]
        parts += [f"{split}, drop in points by seed ({test}):", pipe_table(cells)]
    if 0 < len(task.labels) <= MAX_CLASSES:
        shown = dict.fromkeys([variants.REFERENCE, found.choice.variant])
        for name in shown:
            mine = found.classes[found.classes["variant"] == name]
            parts += [f"{name} per class, validation:", pipe_table(class_cells(mine))]
    parts += ["cost:", pipe_table([cost_cells(name, row) for name, row in rows.items()])]
    first, last = timing.groups[0], timing.groups[-1]
    mean = "mean over seeds of the " if several else ""
    parts.append(
        f"Always giving the same answer: {headline} {any_row[f'majority_{headline}']:.4f} on "
        f"validation. Intervals: {100 * settings.confidence:g} %, bootstrap over the texts; drops "
        "are fp32 minus variant, paired on the same texts. Verdict: "
        f"{mean}drop on validation against a budget of {settings.max_drop_points:g} points. On "
        "the front: no other variant is as good in score, p90 and size. "
        f"p50 and p90: {first}, texts cut to {any_row['max_length']} tokens, padded to "
        f"{timing.padding}; texts/s: {last}. "
        f"{environment['cpu']}, {environment['instruction_set']}, {environment['cores']} cores, "
        f"torch {environment['torch']}."
    )
    if any_row["weights"] in WARNINGS:
        parts.append(WARNINGS[any_row["weights"]])
    if any_row["contended"]:
        parts.append("CONTENDED: other processes ran during the timing; do not quote latency.")
    return "\n\n".join(parts) + "\n"


def summary_cells(name: str, row: dict, task: Task) -> dict[str, str]:
    """The whole field at a glance; means are over the seeds."""
    headline = task.metrics[0]
    mean = " (mean)" if row["seeds"] > 1 else ""
    cells = {"variant": name, f"{headline}{mean}": f"{row[f'{headline}_mean']:.4f}"}
    for split in task.scored:
        drop = f"{prefix_of(split)}{headline}_drop_mean"
        low, high = row[f"{drop}_low"], row[f"{drop}_high"]
        cells[f"drop on {split}{mean}"] = (
            f"{row[f'{drop}_points']:+.2f} ({low:+.2f} to {high:+.2f})"
        )
    return cells | {
        "verdict": str(row["verdict"]),
        "p90 ms": f"{row['p90_ms']:.2f}",
        "speed-up": f"{row['speedup_p90']:.2f}x",
        "MB": f"{row['size_mb']:.1f}",
        "on the front": "yes" if row["on_front"] else "",
    }


def class_cells(classes: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {"class": str(one["class"])}
        | {key: f"{one[key]:.4f}" for key in ("precision", "recall", "f1")}
        | {"support": str(one["support"])}
        for one in classes.to_dict("records")
    ]


def accuracy_cells(name: str, row: dict, split: str, task: Task) -> dict[str, str]:
    prefix, headline = prefix_of(split), task.metrics[0]
    value, drop = f"{prefix}{headline}", f"{prefix}{headline}_drop"
    cells = {
        "variant": name,
        headline: f"{row[value]:.4f} ({row[f'{value}_low']:.3f} to {row[f'{value}_high']:.3f})",
        "drop in points": f"{row[f'{drop}_points']:+.2f} "
        f"({row[f'{drop}_low']:+.2f} to {row[f'{drop}_high']:+.2f})",
        "same answers": f"{row[f'{prefix}agreement_pct']:.1f} %",
        TEST_NAMES[p_name(task)]: f"{row[f'{prefix}{p_name(task)}']:.2g}",
    }
    return cells


def seed_cells(
    name: str, seeds: pd.DataFrame, row: dict, metric: str, confidence: float
) -> dict[str, str]:
    """One variant's drop in every seed, and their mean: over the texts and over the seeds."""
    mine = seeds[seeds["variant"] == name]
    cells = {"variant": name}
    for _, one in mine.iterrows():
        cells[f"seed {one['seed']}"] = f"{one['drop_points']:+.2f} ({one['p']:.2g})"
    spread = mean_interval(mine["drop_points"].tolist(), confidence)
    low, high = row[f"{metric}_drop_mean_low"], row[f"{metric}_drop_mean_high"]
    return cells | {
        "mean (interval over texts)": f"{row[f'{metric}_drop_mean_points']:+.2f} "
        f"({low:+.2f} to {high:+.2f})",
        "interval over seeds (t)": f"{spread.low:+.2f} to {spread.high:+.2f}",
        "median": f"{row[f'{metric}_drop_median_points']:+.2f}",
    }


def cost_cells(name: str, row: dict) -> dict[str, str]:
    return {
        "variant": name,
        "p50 ms": f"{row['p50_ms']:.2f}",
        "p90 ms": f"{row['p90_ms']:.2f}",
        "speed-up p90": f"{row['speedup_p90']:.2f}x",
        "texts/s": f"{row['throughput_per_s']:.0f}",
        "MB": f"{row['size_mb']:.1f}",
        "smaller": f"{row['size_ratio']:.2f}x",
        "quantized operators": f"{row['quantized_ops']}",
    }
