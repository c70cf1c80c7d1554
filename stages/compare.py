"""Every variant against fp32: accuracy with its evidence, latency, size, and a verdict."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages import tasks, variants
from stages.measure import statistics
from stages.measure.report import Comparison, groups, markdown
from stages.measure.selection import choose, front
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file, new_folder, read_json, write_json, write_text
from stages.plumbing.params import Compare, Latency, load_params
from stages.tasks import Task


def compare(task: str) -> None:
    """Write metrics/<task>/compare/<variant>.json, and compare.md, .csv of reports/<task>/."""
    params, definition = load_params(), tasks.get(task)
    names, seeds = list(params.quantize), params.finetune.seeds
    for folder in (paths.METRICS / task / "accuracy", paths.REPORTS / task / "predictions"):
        remove_unlisted(folder, names, seeds)
    scores = {(name, s): read_json(paths.accuracy(task, s, name)) for name in names for s in seeds}
    skipped = {name: each["skipped"] for (name, _), each in scores.items() if "skipped" in each}
    names = [name for name in names if name not in skipped]
    by_seed = [
        accuracy_row(definition, seed, name, params.compare) for seed in seeds for name in names
    ]
    rows = {
        name: over_seeds(
            [row for row in by_seed if row["variant"] == name], definition, params.compare
        )
        | cost_row(task, name, params.latency)
        for name in names
    }
    headline = definition.metrics[0]
    on_front = front(rows, f"{headline}_mean")
    for name, row in rows.items():
        row["on_front"] = int(name in on_front)
    choice = choose(rows, variants.REFERENCE, headline, params.compare.max_f1_drop_points)
    with new_folder(paths.METRICS / task / "compare") as folder:
        for name, row in rows.items():
            write_json(folder / f"{name}.json", row)
    table = pd.DataFrame(rows).T.rename_axis("variant")
    for column in ("mean_points", "mean_low", "mean_high"):  # the plot's, whatever the metric is
        table[f"drop_{column}"] = table[f"{headline}_drop_{column}"]
    with new_file(paths.REPORTS / task / "compare.csv") as partial:
        table.to_csv(partial)
    comparison = Comparison(rows, seeds_table(by_seed, headline), skipped, choice)
    page = markdown(definition, comparison, params.compare, params.latency)
    write_text(paths.REPORTS / task / "compare.md", page)
    print(page)


def remove_unlisted(folder: Path, names: list[str], seeds: list[int]) -> None:
    """A variant or seed taken out of params.yaml leaves files behind; no table may show them."""
    for path in folder.glob("seed_*/*"):
        if path.stem not in names and path.suffix in (".json", ".csv"):
            path.unlink()
    for path in folder.iterdir():
        if path.is_dir() and path.name not in [f"seed_{seed}" for seed in seeds]:
            shutil.rmtree(path)
    for path in (folder.parent / "finetune").glob("seed_*.json"):
        if path.stem not in [f"seed_{seed}" for seed in seeds]:
            path.unlink()


def over_seeds(by_seed: list[dict], task: Task, settings: Compare) -> dict[str, float | str]:
    """The first seed's row, whose model ships, and over all seeds mean, median, worst, verdict.

    Validation decides. Its verdict is about the mean drop: what a seed adds by chance to one model
    it also takes from another.
    """
    row = {key: value for key, value in by_seed[0].items() if key != "variant"}
    name, seeds = by_seed[0]["variant"], [seed["seed"] for seed in by_seed]
    row["seeds"], headline = len(seeds), task.metrics[0]
    for split, prefix in (("validation", ""), ("test", "test_")):
        if f"{prefix}n" not in row:
            continue
        answers = [aligned(task, seed, name, split) for seed in seeds]
        spread = statistics.paired_drop_interval(
            headline,
            answers[0].labels,
            [each.fp32 for each in answers],
            [each.ours for each in answers],
            len(task.labels),
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
        if not prefix:
            row["verdict"] = statistics.verdict(spread, settings.max_f1_drop_points)
    if name == variants.REFERENCE:
        row["verdict"] = "reference"
    return row


def seeds_table(by_seed: list[dict], headline: str) -> pd.DataFrame:
    """One row per variant, seed and split."""
    return pd.DataFrame(
        {
            "variant": row["variant"],
            "seed": row["seed"],
            "split": split,
            "drop_points": row[f"{prefix}{headline}_drop_points"],
            "mcnemar_p": row[f"{prefix}mcnemar_p"],
        }
        for prefix, split in (("", "validation"), ("test_", "test"))
        for row in by_seed
        if f"{prefix}n" in row
    )


def accuracy_row(task: Task, seed: int, name: str, settings: Compare) -> dict[str, float | str]:
    """One seed; validation decides, test, on which nothing was chosen, stands beside it."""
    scores = read_json(paths.accuracy(task.name, seed, name))
    fp32_scores = read_json(paths.accuracy(task.name, seed, variants.REFERENCE))
    headline = task.metrics[0]
    row: dict[str, float | str] = {"variant": name, "seed": seed}
    bootstrap = (len(task.labels), settings.bootstrap_samples, settings.confidence)
    for split, prefix in (("validation", ""), ("test", "test_")):
        if split not in scores:
            continue
        rows = aligned(task, seed, name, split)
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
        row |= {
            f"{prefix}agreement_pct": 100 * float((rows.ours == rows.fp32).mean()),
            f"{prefix}disagreements": int((rows.ours != rows.fp32).sum()),
            f"{prefix}mcnemar_p": statistics.mcnemar(
                rows.fp32 == rows.labels, rows.ours == rows.labels
            ),
            f"{prefix}n": len(rows.labels),
        }
    row[f"majority_{headline}"] = scores["validation"][f"majority_{headline}"]
    return row


class Answers(NamedTuple):
    """Labels and both models' answers on the same rows, shape (n,) each."""

    labels: np.ndarray
    fp32: np.ndarray
    ours: np.ndarray


def aligned(task: Task, seed: int, name: str, split: str) -> Answers:
    files = [paths.predictions(task.name, seed, each) for each in (name, variants.REFERENCE)]
    ours, fp32 = (pd.read_csv(file, dtype={"id": str}) for file in files)
    ours, fp32 = ours[ours["split"] == split], fp32[fp32["split"] == split]
    assert ours["id"].tolist() == fp32["id"].tolist(), "evaluate keeps the rows in order"
    columns = (ours["label"], fp32["predicted"], ours["predicted"])
    return Answers(*(column.to_numpy() for column in columns))


def cost_row(task: str, name: str, settings: Latency) -> dict[str, float | str]:
    """Latency at the first batch size and thread count of params.yaml, and size."""
    size = read_json(paths.metric(task, "size", name))
    ours = read_json(paths.metric(task, "latency", name))
    fp32 = read_json(paths.metric(task, "latency", variants.REFERENCE))
    first, last = groups(settings)[0], groups(settings)[-1]
    return {
        "p50_ms": ours[first]["p50_ms"],
        "p90_ms": ours[first]["p90_ms"],
        "speedup_p50": fp32[first]["p50_ms"] / ours[first]["p50_ms"],
        "speedup_p90": fp32[first]["p90_ms"] / ours[first]["p90_ms"],
        "throughput_per_s": ours[last]["throughput_per_s"],
        "throughput_ratio": ours[last]["throughput_per_s"] / fp32[last]["throughput_per_s"],
        "size_mb": size["size_mb"],
        "size_ratio": size["size_ratio"],
        "quantized_ops": size["quantized_ops"],
        "weights": size["weights"],
        "instruction_set": ours["instruction_set"],
        "contended": ours["contended"],
    }


if __name__ == "__main__":
    run_stage(compare)
