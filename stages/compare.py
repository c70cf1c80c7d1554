"""Every variant against fp32: accuracy with its evidence, latency, size, and a verdict."""

from pathlib import Path

import numpy as np
import pandas as pd

from stages import tasks, variants
from stages.measure import statistics
from stages.measure.timing import group_name
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file, new_folder, read_json, write_json, write_text
from stages.plumbing.params import Compare, Latency, load_params
from stages.tasks import Task


def compare(task: str) -> None:
    """Write metrics/<task>/compare/<variant>.json, reports/<task>/compare.md and .csv."""
    params, definition = load_params(), tasks.get(task)
    names = list(params.quantize)
    remove_unlisted(paths.METRICS / task / "accuracy", names)
    remove_unlisted(paths.REPORTS / task / "predictions", names)
    rows = {
        name: accuracy_row(definition, name, params.compare) | cost_row(task, name, params.latency)
        for name in names
    }
    with new_folder(paths.METRICS / task / "compare") as folder:
        for name, row in rows.items():
            write_json(folder / f"{name}.json", row)
    with new_file(paths.REPORTS / task / "compare.csv") as partial:
        pd.DataFrame(rows).T.rename_axis("variant").to_csv(partial)
    page = markdown(definition, rows, params.compare, params.latency)
    write_text(paths.REPORTS / task / "compare.md", page)
    print(page)


def remove_unlisted(folder: Path, names: list[str]) -> None:
    """A variant taken out of params.yaml leaves its files behind; no table may show them."""
    for path in folder.iterdir():
        if path.stem not in names and path.suffix in (".json", ".csv"):
            path.unlink()


def accuracy_row(task: Task, name: str, settings: Compare) -> dict[str, float | str]:
    """Validation decides; test, on which nothing was chosen, stands beside it."""
    scores = read_json(paths.metric(task.name, "accuracy", name))
    ours = pd.read_csv(paths.predictions(task.name, name), dtype={"id": str})
    fp32 = pd.read_csv(paths.predictions(task.name, variants.REFERENCE), dtype={"id": str})
    headline = task.metrics[0]
    row: dict[str, float | str] = {}
    for split, prefix in (("validation", ""), ("test", "test_")):
        if split not in scores:
            continue
        labels, predicted, reference = aligned(ours, fp32, split)
        bootstrap = (len(task.labels), settings.bootstrap_samples, settings.confidence)
        row |= {f"{prefix}{metric}": scores[split][metric] for metric in task.metrics}
        own = statistics.metric_interval(headline, labels, predicted, *bootstrap)
        row |= {f"{prefix}{headline}_low": own.low, f"{prefix}{headline}_high": own.high}
        before = read_json(paths.metric(task.name, "accuracy", variants.REFERENCE))[split]
        for metric in task.metrics:
            drop = 100 * (before[metric] - scores[split][metric])
            row[f"{prefix}{metric}_drop_points"] = drop
            spread = statistics.paired_drop_interval(
                metric, labels, reference, predicted, *bootstrap
            )
            row[f"{prefix}{metric}_drop_low"] = spread.low
            row[f"{prefix}{metric}_drop_high"] = spread.high
            if metric == headline and not prefix:
                row["verdict"] = statistics.verdict(spread, settings.max_f1_drop_points)
        row[f"{prefix}agreement_pct"] = 100 * float((predicted == reference).mean())
        row[f"{prefix}disagreements"] = int((predicted != reference).sum())
        row[f"{prefix}mcnemar_p"] = statistics.mcnemar(reference == labels, predicted == labels)
        row[f"{prefix}n"] = len(labels)
    row[f"majority_{headline}"] = scores["validation"][f"majority_{headline}"]
    row["collapsed"] = scores["validation"]["collapsed"]
    if name == variants.REFERENCE:
        row["verdict"] = "reference"
    if row["collapsed"]:
        row["verdict"] = "collapsed"
    return row


def aligned(
    ours: pd.DataFrame, fp32: pd.DataFrame, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, our answers and fp32's answers on the same rows of `split`."""
    ours, fp32 = ours[ours["split"] == split], fp32[fp32["split"] == split]
    assert ours["id"].tolist() == fp32["id"].tolist(), "evaluate keeps the rows in order"
    return ours["label"].to_numpy(), ours["predicted"].to_numpy(), fp32["predicted"].to_numpy()


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


def groups(settings: Latency) -> list[str]:
    return [group_name(b, t) for b in settings.batch_sizes for t in settings.threads]


def markdown(task: Task, rows: dict[str, dict], settings: Compare, timing: Latency) -> str:
    """What is printed, and pasted into a pull request."""
    headline = task.metrics[0]
    any_row, environment = next(iter(rows.values())), read_json(paths.ENVIRONMENT)
    parts = [f"### {task.name}"]
    for prefix, split in (("", "validation"), ("test_", "test")):
        if f"{prefix}n" in any_row:
            cells = [accuracy_cells(name, row, prefix, headline) for name, row in rows.items()]
            parts += [f"{split}, {any_row[f'{prefix}n']} texts:", pipe_table(cells)]
    parts += ["cost:", pipe_table([cost_cells(name, row) for name, row in rows.items()])]
    first, last = groups(timing)[0], groups(timing)[-1]
    parts.append(
        f"Always answering the majority class: {headline} {any_row[f'majority_{headline}']:.4f} on "
        f"validation. Intervals: {100 * settings.confidence:g} % bootstrap; drops are fp32 minus "
        "variant, paired on the same texts. Verdict: drop on validation against a budget of "
        f"{settings.max_f1_drop_points:g} points. p50 and p90: {first}; texts/s: {last}. "
        f"{environment['cpu']}, {environment['instruction_set']}, {environment['cores']} cores, "
        f"torch {environment['torch']}."
    )
    if any_row["weights"] == "random":
        parts.append("RANDOM WEIGHTS: latency and size are real, accuracy means nothing.")
    if any_row["contended"]:
        parts.append("CONTENDED: other processes ran during the timing; do not quote latency.")
    return "\n\n".join(parts) + "\n"


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
    return cells if prefix else cells | {"verdict": row["verdict"]}


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


if __name__ == "__main__":
    run_stage(compare)
