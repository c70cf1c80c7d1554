"""Gather what a team reads of one task, and write it as one HTML page."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages import variants
from stages.dataset.task import Task
from stages.measure.timing import groups
from stages.model.artifact import WARNINGS
from stages.plumbing import paths
from stages.plumbing.json_file import read_json
from stages.reporting.comparison_page import (
    Comparison,
    accuracy_cells,
    cost_cells,
    renumbered,
    summary_cells,
    undecided,
    unrecognized,
)
from stages.reporting.escaping import PLAIN
from stages.reporting.page import charts
from stages.reporting.page.changed_texts import changed_texts
from stages.reporting.page.terms import meaning
from stages.reporting.predictions import Predictions
from stages.settings.params import Params

Cells = dict[str, str]


class Confusion(NamedTuple):
    """`counts[i][j]`: texts of class i that were given class j; `shades`: in parts of the row."""

    variant: str
    counts: list[list[int]]
    shades: list[list[float]]


def page(task: Task, compared: Comparison, predictions: Predictions, params: Params) -> str:
    """The whole page; everything that comes from outside is escaped by the template."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2").render(
        contents(task, compared, predictions, params)
        | {
            "style": (folder / "page.css").read_text("utf-8"),
            "script": (folder / "page.js").read_text("utf-8"),
        }
    )


def contents(
    task: Task, compared: Comparison, predictions: Predictions, params: Params
) -> dict[str, Any]:
    rows, ships = compared.rows, compared.choice.variant
    fp32, chosen = rows[variants.REFERENCE], rows[ships]
    dataset = read_json(paths.dataset(task.name))
    order, timing = list(rows), params.latency
    by_importance = list(dict.fromkeys([ships, *order]))
    of_interest = [name for name in by_importance if name != variants.REFERENCE]
    return {
        "task": task,
        "ships": ships,
        "reason": compared.choice.reason,
        "chosen": chosen,
        "fp32": fp32,
        "confidence": f"{100 * params.compare.confidence:g} %",
        "budget": params.compare.max_drop_points,
        "warnings": warnings_of(task, compared),
        "summary": [in_one_view(summary_cells(name, row)) for name, row in rows.items()],
        "splits": {
            split: (one.n, [accuracy_cells(n, r.splits[split], r.headline, r.test)
                            for n, r in rows.items()])
            for split, one in fp32.splits.items()
        },
        "cost": [cost_cells(name, row) for name, row in rows.items()],
        "meaning": meaning,
        "score": score_picture(task, compared, params),
        "latency": latency_picture(task, order, params),
        "size": size_picture(task, order),
        "confusions": confusions(task, by_importance, fp32.seed),
        "classes": class_table(task, compared, by_importance),
        "sensitivity": sensitivity_pictures(task),
        "training": training_pictures(task, params, fp32.headline),
        "changed": changed_texts(task, fp32.seed, of_interest, predictions),
        "open": {name: undecided(row) for name, row in rows.items() if row.more_texts != 0},
        "skipped": compared.skipped,
        "environment": read_json(paths.ENVIRONMENT),
        "dataset": dataset,
        "params": params,
        "first_group": f"batch {timing.batch_sizes[0]}, threads {timing.threads[0]}",
        "last_group": f"batch {timing.batch_sizes[-1]}, threads {timing.threads[-1]}",
    }  # fmt: skip


def in_one_view(cells: Cells) -> Cells:
    """Without the drops on other splits, which have a table of their own."""
    others = [key for key in cells if key.startswith("drop on ") and "validation" not in key]
    return {key: value for key, value in cells.items() if key not in others}


def warnings_of(task: Task, compared: Comparison) -> list[str]:
    """What nobody may overlook, as it stands in compare.md."""
    cost = next(iter(compared.rows.values())).cost
    were = json.loads(cost.classes_were) if cost.classes_were else []
    found = [renumbered(task, were, PLAIN)] if were else []
    for name in compared.rows:
        classes = compared.classes[compared.classes["variant"] == name]
        found += unrecognized(name, classes, PLAIN)
    if cost.weights in WARNINGS:
        found.append(WARNINGS[cost.weights])
    if cost.contended:
        found.append("CONTENDED: other processes ran during the timing; do not quote latency.")
    return found


def score_picture(task: Task, compared: Comparison, params: Params) -> charts.Picture:
    reference = compared.rows[variants.REFERENCE].over_seeds["validation"].mean
    points = []
    for name, row in compared.rows.items():
        over = row.over_seeds["validation"]
        itself = name == variants.REFERENCE
        role = charts.CHOSEN if name == compared.choice.variant else charts.OTHER
        points.append(
            {
                "variant": name,
                "role": charts.REFERENCE if itself and role == charts.OTHER else role,
                "speedup": row.cost.speedup_p90,
                "score": over.mean,
                "low": np.nan if itself else reference - over.drop.high / 100,
                "high": np.nan if itself else reference - over.drop.low / 100,
            }
        )
    lowest = reference - params.compare.max_drop_points / 100
    return charts.score_against_speed(pd.DataFrame(points), task.metrics[0], lowest)


def latency_picture(task: Task, order: list[str], params: Params) -> charts.Picture:
    samples = pd.read_csv(paths.REPORTS / task.name / "latency.csv", dtype={"threads": str})
    size, threads = params.latency.batch_sizes[0], str(params.latency.threads[0])
    of_group = (samples["batch_size"] == size) & (samples["threads"] == threads)
    samples = samples[of_group & samples["variant"].isin(order)]
    group = groups(params.latency.batch_sizes, params.latency.threads)[0]
    p90 = {
        name: read_json(paths.metric(task.name, "latency", name))[group]["p90_ms"] for name in order
    }
    said = ", ".join(f"{name} {ms:.1f} ms" for name, ms in p90.items())
    return charts.latencies(
        samples.assign(p90=samples["variant"].map(p90)),
        order,
        f"Time of each call by variant. p90: {said}.",
    )


def size_picture(task: Task, order: list[str]) -> charts.Picture:
    parts = pd.read_csv(paths.REPORTS / task.name / "size.csv")
    return charts.sizes(parts[parts["variant"].isin(order)], order)


def confusions(task: Task, names: list[str], seed: int) -> list[Confusion]:
    """Of validation, as stage evaluate counted them; none of so many classes that it did not."""
    classes = range(len(task.labels))
    found = []
    for name in names:
        counted = read_json(paths.accuracy(task.name, seed, name))["validation"]
        if "true_0_predicted_0" not in counted:
            return []
        table = np.array([[counted[f"true_{i}_predicted_{j}"] for j in classes] for i in classes])
        shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))
        found.append(Confusion(name, table.tolist(), shares.round(3).tolist()))
    return found


def class_table(task: Task, compared: Comparison, names: list[str]) -> list[Cells]:
    """F1 of each class under each variant."""
    if not task.labels:
        return []
    wide = compared.classes.pivot(index="class", columns="variant", values="f1")
    support = compared.classes.drop_duplicates("class").set_index("class")["support"]
    return [
        {"class": label, "support": f"{support[label]:,}"}
        | {name: f"{float(wide[name][label]):.4f}" for name in names}
        for label in task.labels
    ]


def sensitivity_pictures(task: Task) -> dict[str, charts.Picture]:
    """Of each variant that measured its layers."""
    layers = pd.read_csv(paths.REPORTS / task.name / "sensitivity.csv")
    kept = layers["kept_in_fp32"].astype(bool).map({True: "kept in fp32", False: "quantized"})
    layers = layers.assign(kept=kept)
    return {
        str(name): charts.sensitivity(rows, str(name)) for name, rows in layers.groupby("variant")
    }


def training_pictures(task: Task, params: Params, headline: str) -> list[charts.Picture]:
    """Loss by step, and the score after each epoch; none where nothing was trained."""
    curves = {
        "loss": ("step", "training loss", "Training loss by step."),
        "validation_score": ("epoch", headline, f"{headline} on validation after each epoch."),
    }
    found = []
    for name, (x, title, says) in curves.items():
        tables = [
            pd.read_csv(paths.training(task.name, seed) / f"{name}.csv").assign(seed=str(seed))
            for seed in params.finetune.seeds
        ]
        table = pd.concat(tables)
        if len(table):
            y = "loss" if name == "loss" else "score"
            found.append(charts.training(table, x, y, title, says))
    return found
