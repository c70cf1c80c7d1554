"""Every variant against fp32: accuracy with its evidence, latency, size, and a verdict."""

import shutil
from pathlib import Path

import pandas as pd

from stages import variants
from stages.dataset.task import Task, read_task
from stages.measure.accuracy import per_class
from stages.measure.selection import choose, front
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file, new_folder, read_json, write_json, write_text
from stages.reporting.comparison_page import Comparison, markdown
from stages.reporting.paired import accuracy_row, aligned, over_seeds, seeds_table
from stages.settings.params import Latency, load_params


def compare(task: str) -> None:
    """Write metrics/<task>/compare/<variant>.json; compare.md, .csv, per_class.csv to reports/."""
    params, definition = load_params(), read_task(task)
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
    choice = choose(rows, variants.REFERENCE, headline, params.compare.max_drop_points)
    with new_folder(paths.METRICS / task / "compare") as folder:
        for name, row in rows.items():
            write_json(folder / f"{name}.json", row)
    table = pd.DataFrame(rows).T.rename_axis("variant")
    for column in ("mean_points", "mean_low", "mean_high"):  # the plot's, whatever the metric is
        table[f"drop_{column}"] = table[f"{headline}_drop_{column}"]
    classes = class_table(definition, seeds[0], names)
    for name, frame in {"compare": table.reset_index(), "per_class": classes}.items():
        with new_file(paths.REPORTS / task / f"{name}.csv") as partial:
            frame.to_csv(partial, index=False)
    comparison = Comparison(rows, seeds_table(by_seed, definition), classes, skipped, choice)
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


def class_table(task: Task, seed: int, names: list[str]) -> pd.DataFrame:
    """Precision, recall, F1 and support of each class on validation; no row for a regression."""
    columns = ["variant", "class", "precision", "recall", "f1", "support"]
    if task.regression:
        return pd.DataFrame(columns=columns)
    frames = []
    for name in names:
        rows = aligned(task, seed, name, "validation")
        frames.append(per_class(task.labels, rows.labels, rows.ours).assign(variant=name))
    return pd.concat(frames)[columns]


def cost_row(task: str, name: str, settings: Latency) -> dict[str, float | str]:
    """Latency at the first batch size and thread count of params.yaml, and size."""
    size = read_json(paths.metric(task, "size", name))
    ours = read_json(paths.metric(task, "latency", name))
    fp32 = read_json(paths.metric(task, "latency", variants.REFERENCE))
    first, last = settings.groups[0], settings.groups[-1]
    latencies: dict[str, float | str] = {}
    for key in ("mean", "p50", "p90"):
        latencies[f"{key}_ms"] = ours[first][f"{key}_ms"]
        latencies[f"speedup_{key}"] = fp32[first][f"{key}_ms"] / ours[first][f"{key}_ms"]
    return latencies | {
        "throughput_per_s": ours[last]["throughput_per_s"],
        "throughput_ratio": ours[last]["throughput_per_s"] / fp32[last]["throughput_per_s"],
        "size_mb": size["size_mb"],
        "size_ratio": size["size_ratio"],
        "quantized_ops": size["quantized_ops"],
        "weights": size["weights"],
        "max_length": size["max_length"],
        "instruction_set": ours["instruction_set"],
        "contended": ours["contended"],
    }


if __name__ == "__main__":
    run_stage(compare)
