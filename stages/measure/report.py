"""The comparison as Markdown: what is printed, and pasted into a pull request."""

from dataclasses import dataclass

import pandas as pd

from stages.measure.selection import Choice
from stages.measure.statistics import mean_interval
from stages.measure.timing import group_name
from stages.plumbing import paths
from stages.plumbing.files import read_json
from stages.plumbing.params import Compare, Latency
from stages.tasks import Task


def groups(settings: Latency) -> list[str]:
    return [group_name(b, t) for b in settings.batch_sizes for t in settings.threads]


@dataclass(frozen=True)
class Comparison:
    """What stage compare found.

    Attributes:
        rows: by variant, as in metrics/<task>/compare/.
        seeds: `variant`, `seed`, `split`, `drop_points`, `mcnemar_p`; one row of each.
        skipped: variant -> why there is no row of it.
        choice: what `export.variant: auto` would ship.
    """

    rows: dict[str, dict]
    seeds: pd.DataFrame
    skipped: dict[str, str]
    choice: Choice


def markdown(task: Task, found: Comparison, settings: Compare, timing: Latency) -> str:
    """All in one table, then the first seed, drops of all seeds, cost, and what it all means."""
    headline, rows = task.metrics[0], found.rows
    any_row, environment = next(iter(rows.values())), read_json(paths.ENVIRONMENT)
    several = any_row["seeds"] > 1
    parts = [f"### {task.name}"]
    parts.append(pipe_table([summary_cells(name, row, headline) for name, row in rows.items()]))
    parts.append(f"`export.variant: auto` ships {found.choice.variant}: {found.choice.reason}.")
    parts += [f"{name}: SKIPPED, {reason}." for name, reason in found.skipped.items()]
    for prefix, split in (("", "validation"), ("test_", "test")):
        if f"{prefix}n" not in any_row:
            continue
        seed = f", seed {any_row['seed']}" if several else ""
        cells = [accuracy_cells(name, row, prefix, headline) for name, row in rows.items()]
        parts += [f"{split}, {any_row[f'{prefix}n']} texts{seed}:", pipe_table(cells)]
    for prefix, split in (("", "validation"), ("test_", "test")):
        if several and f"{prefix}n" in any_row:
            mine = found.seeds[found.seeds["split"] == split]
            cells = [
                seed_cells(name, mine, row, f"{prefix}{headline}", settings.confidence)
                for name, row in rows.items()
            ]
            parts += [f"{split}, drop in points by seed (McNemar p):", pipe_table(cells)]
    parts += ["cost:", pipe_table([cost_cells(name, row) for name, row in rows.items()])]
    first, last = groups(timing)[0], groups(timing)[-1]
    mean = "mean over seeds of the " if several else ""
    parts.append(
        f"Always answering the majority class: {headline} {any_row[f'majority_{headline}']:.4f} on "
        f"validation. Intervals: {100 * settings.confidence:g} %, bootstrap over the texts; drops "
        "are fp32 minus variant, paired on the same texts. Verdict: "
        f"{mean}drop on validation against a budget of {settings.max_f1_drop_points:g} points. On "
        "the front: no other variant is as good in score, p90 and size. "
        f"p50 and p90: {first}; texts/s: {last}. "
        f"{environment['cpu']}, {environment['instruction_set']}, {environment['cores']} cores, "
        f"torch {environment['torch']}."
    )
    if any_row["weights"] == "random":
        parts.append("RANDOM WEIGHTS: latency and size are real, accuracy means nothing.")
    if any_row["contended"]:
        parts.append("CONTENDED: other processes ran during the timing; do not quote latency.")
    return "\n\n".join(parts) + "\n"


def summary_cells(name: str, row: dict, headline: str) -> dict[str, str]:
    """The whole field at a glance; means are over the seeds."""
    mean = " (mean)" if row["seeds"] > 1 else ""
    cells = {"variant": name, f"{headline}{mean}": f"{row[f'{headline}_mean']:.4f}"}
    for prefix, split in (("", "validation"), ("test_", "test")):
        drop = f"{prefix}{headline}_drop_mean"
        if f"{drop}_points" in row:
            cells[f"drop on {split}{mean}"] = (
                f"{row[f'{drop}_points']:+.2f} ({row[f'{drop}_low']:+.2f} to "
                f"{row[f'{drop}_high']:+.2f})"
            )
    return cells | {
        "verdict": str(row["verdict"]),
        "p90 ms": f"{row['p90_ms']:.2f}",
        "speed-up": f"{row['speedup_p90']:.2f}x",
        "MB": f"{row['size_mb']:.1f}",
        "on the front": "yes" if row["on_front"] else "",
    }


def accuracy_cells(name: str, row: dict, prefix: str, headline: str) -> dict[str, str]:
    value, drop = f"{prefix}{headline}", f"{prefix}{headline}_drop"
    cells = {
        "variant": name,
        headline: f"{row[value]:.4f} ({row[f'{value}_low']:.3f} to {row[f'{value}_high']:.3f})",
        "drop in points": f"{row[f'{drop}_points']:+.2f} "
        f"({row[f'{drop}_low']:+.2f} to {row[f'{drop}_high']:+.2f})",
        "same answers": f"{row[f'{prefix}agreement_pct']:.1f} %",
        "McNemar p": f"{row[f'{prefix}mcnemar_p']:.2g}",
    }
    return cells


def seed_cells(
    name: str, seeds: pd.DataFrame, row: dict, metric: str, confidence: float
) -> dict[str, str]:
    """One variant's drop in every seed, and their mean: over the texts and over the seeds."""
    mine = seeds[seeds["variant"] == name]
    cells = {"variant": name}
    for _, one in mine.iterrows():
        cells[f"seed {one['seed']}"] = f"{one['drop_points']:+.2f} ({one['mcnemar_p']:.2g})"
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


def pipe_table(rows: list[dict[str, str]]) -> str:
    """GitHub Markdown, padded so that a terminal shows columns too."""
    header = list(rows[0])
    widths = [max(len(key), *(len(row[key]) for row in rows)) for key in header]

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)) + " |"

    body = [line([row[key] for key in header]) for row in rows]
    return "\n".join([line(header), line(["-" * width for width in widths]), *body])
