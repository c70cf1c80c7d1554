"""The comparison as Markdown: what is printed, and pasted into a pull request."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from stages import variants
from stages.dataset.task import Task
from stages.measure.selection import Choice
from stages.measure.statistics import MOST_TIMES, mean_interval
from stages.measure.timing import groups
from stages.model.artifact import WARNINGS
from stages.plumbing import paths
from stages.plumbing.json_file import read_json
from stages.reporting.escaping import MARKDOWN, Form, in_markdown
from stages.reporting.markdown_table import pipe_table
from stages.reporting.row import Drop, OnSplit, Row
from stages.settings.params import Compare, Latency

TEST_NAMES = {"mcnemar_p": "McNemar p", "wilcoxon_p": "Wilcoxon p"}
MAX_CLASSES = 20  # in the page; all of them stand in per_class.csv
Cells = dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """What stage compare knows.

    Attributes:
        rows: by variant.
        by_seed: variant -> seed -> split -> results.
        classes: `variant`, `class`, `precision`, `recall`, `f1`, `support` on validation.
        skipped: variant -> why there is no row of it.
        choice: what `export.variant: auto` would ship.
    """

    rows: dict[str, Row]
    by_seed: dict[str, dict[int, dict[str, OnSplit]]]
    classes: pd.DataFrame
    skipped: dict[str, str]
    choice: Choice


def markdown(task: Task, compared: Comparison, settings: Compare, timing: Latency) -> str:
    """All in one table, then the first seed, drops of all seeds, cost, and what it all means."""
    headline, rows = task.metrics[0], compared.rows
    any_row, environment = next(iter(rows.values())), read_json(paths.ENVIRONMENT)
    several, cost = any_row.seeds > 1, any_row.cost
    parts = [f"### {task.name}"]
    if cost.classes_were:
        parts.append(renumbered(task, json.loads(cost.classes_were), MARKDOWN))
    parts.append(pipe_table([summary_cells(name, row) for name, row in rows.items()]))
    parts.append(
        f"`export.variant: auto` ships {compared.choice.variant}: {compared.choice.reason}."
    )
    parts += [f"{name}: {undecided(row)}." for name, row in rows.items() if row.more_texts != 0]
    for name in rows:
        classes = compared.classes[compared.classes["variant"] == name]
        parts += unrecognized(name, classes, MARKDOWN)
    parts += [
        f"{name}: SKIPPED, {in_markdown(reason)}." for name, reason in compared.skipped.items()
    ]
    for split, one in any_row.splits.items():
        seed = f", seed {any_row.seed}" if several else ""
        cells = [
            accuracy_cells(name, row.splits[split], headline, row.test)
            for name, row in rows.items()
        ]
        parts += [f"{split}, {one.n} texts{seed}:", pipe_table(cells)]
    test = TEST_NAMES[any_row.test]
    for split in task.scored if several else ():
        cells = [
            seed_cells(name, row, split, compared.by_seed[name], headline, settings.confidence)
            for name, row in rows.items()
        ]
        parts += [f"{split}, drop in points by seed ({test}):", pipe_table(cells)]
    if 0 < len(task.labels) <= MAX_CLASSES:
        shown = dict.fromkeys([variants.REFERENCE, compared.choice.variant])
        for name in shown:
            classes = compared.classes[compared.classes["variant"] == name]
            parts += [f"{name} per class, validation:", pipe_table(class_cells(classes))]
    parts += ["cost:", pipe_table([cost_cells(name, row) for name, row in rows.items()])]
    timed = groups(timing.batch_sizes, timing.threads)
    first, last = timed[0], timed[-1]
    mean = "mean over seeds of the " if several else ""
    parts.append(
        f"Always giving the same answer: {headline} {any_row.majority:.4f} on "
        f"validation. Intervals: {100 * settings.confidence:g} %, resampled texts and one "
        "that was not seen (docs/reading_a_report.md); drops are fp32 minus variant, paired on the "
        "same texts. Verdict: "
        f"{mean}drop on validation against a budget of {settings.max_drop_points:g} points. On "
        "the front: no other variant is as good in score, p90 and size. "
        f"p50 and p90: {first}, texts cut to {cost.max_length} tokens, padded to "
        f"{timing.padding}; texts/s: {last}; cost per million texts at that, "
        f"{settings.price_per_core_hour:g} a core-hour. "
        f"{environment['cpu']}, {environment['instruction_set']}, {environment['cores']} cores, "
        f"torch {environment['torch']}."
    )
    if cost.weights in WARNINGS:
        parts.append(WARNINGS[cost.weights])
    if cost.contended:
        parts.append("CONTENDED: other processes ran during the timing; do not quote latency.")
    return "\n\n".join(parts) + "\n"


def renumbered(task: Task, were: Sequence[str], form: Form) -> str:
    """What nobody may overlook who runs the export in place of the model that it is of."""
    before, now = (
        ", ".join(f"{i} = {form.text(name)}" for i, name in enumerate(names))
        for names in (were, task.labels)
    )
    head = form.bold("The classes have other numbers than in the model that this is of")
    return f"{head}: there {before}; here {now}."


def unrecognized(name: str, classes: pd.DataFrame, form: Form) -> list[str]:
    """Classes of which not one text was found, in a sentence each."""
    lost = classes[(classes["f1"] == 0) & (classes["support"] > 0)]
    return [
        form.bold(f"{name} recognizes no text of class '{form.text(str(one['class']))}'")
        + f" ({one['support']} of validation)."
        for one in lost.to_dict("records")
    ]


def undecided(row: Row) -> str:
    """What would decide."""
    n = row.splits["validation"].n
    if row.more_texts is None:
        return (
            f"undecided on {n:,} texts, and {MOST_TIMES:,} times as many like these would not "
            "decide: its drop is about as large as the budget"
        )
    return (
        f"undecided on {n:,} texts; about {rounded(row.more_texts):,} more labelled texts would "
        "decide, if the answers change there as often as here"
    )


def rounded(count: int) -> int:
    """To two digits and a ten, up."""
    unit = 10 ** max(1, len(str(count)) - 2)
    return -(-count // unit) * unit


def drop_cell(drop: Drop) -> str:
    return f"{drop.points:+.2f} ({drop.low:+.2f} to {drop.high:+.2f})"


def summary_cells(name: str, row: Row) -> Cells:
    """The whole field at a glance; means are over the seeds."""
    mean = " (mean)" if row.seeds > 1 else ""
    score = row.over_seeds["validation"].mean
    cells = {"variant": name, f"{row.headline}{mean}": f"{score:.4f}"}
    for split, several in row.over_seeds.items():
        cells[f"drop on {split}{mean}"] = drop_cell(several.drop)
    return cells | {
        "verdict": row.verdict,
        "p90 ms": f"{row.cost.p90_ms:.2f}",
        "speed-up p90": f"{row.cost.speedup_p90:.2f}x",
        "MB": f"{row.cost.size_mb:.1f}",
        "needs there": variants.get(name).needs,
        "on the front": "yes" if row.on_front else "",
    }


def class_cells(classes: pd.DataFrame) -> list[Cells]:
    return [
        {"class": in_markdown(str(one["class"]))}
        | {key: f"{one[key]:.4f}" for key in ("precision", "recall", "f1")}
        | {"support": str(one["support"])}
        for one in classes.to_dict("records")
    ]


def accuracy_cells(name: str, one: OnSplit, headline: str, test: str) -> Cells:
    return {
        "variant": name,
        headline: f"{one.scores[headline]:.4f} ({one.low:.3f} to {one.high:.3f})",
        "drop in points": drop_cell(one.drops[headline]),
        "same answers": f"{one.agreement_pct:.1f} %",
        TEST_NAMES[test]: f"{one.p:.2g}",
    }


def seed_cells(
    name: str,
    row: Row,
    split: str,
    by_seed: Mapping[int, Mapping[str, OnSplit]],
    headline: str,
    confidence: float,
) -> Cells:
    """One variant's drop in every seed, and their mean: over the texts and over the seeds."""
    drops = {seed: results[split].drops[headline].points for seed, results in by_seed.items()}
    cells = {"variant": name}
    for seed, points in drops.items():
        cells[f"seed {seed}"] = f"{points:+.2f} ({by_seed[seed][split].p:.2g})"
    spread = mean_interval(list(drops.values()), confidence)
    several = row.over_seeds[split]
    return cells | {
        "mean (interval over texts)": drop_cell(several.drop),
        "interval over seeds (t)": f"{spread.low:+.2f} to {spread.high:+.2f}",
        "median": f"{several.drop_median_points:+.2f}",
    }


def known(value: float, form: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"


def cost_cells(name: str, row: Row) -> Cells:
    cost = row.cost
    return {
        "variant": name,
        "p50 ms": f"{cost.p50_ms:.2f}",
        "p90 ms": f"{cost.p90_ms:.2f}",
        "speed-up p90": f"{cost.speedup_p90:.2f}x",
        "texts/s": f"{cost.throughput_per_s:.0f}",
        "MB": f"{cost.size_mb:.1f}",
        "smaller": f"{cost.size_ratio:.2f}x",
        "peak MB": known(cost.peak_memory_mb, ".0f"),
        "cost per million": known(cost.cost_per_million, ".2f"),
        "needs there": variants.get(name).needs,
        "quantized operators": f"{cost.quantized_ops}",
    }
