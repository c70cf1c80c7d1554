"""Every variant against fp32: accuracy with its evidence, latency, size, and a verdict."""

from dataclasses import replace
from itertools import product

import pandas as pd

from stages import variants
from stages.dataset.task import Task, read_task
from stages.dataset.verified import verify_predictions, verify_splits
from stages.measure.accuracy import per_class
from stages.measure.selection import front
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file, new_folder, write_json, write_text
from stages.plumbing.json_file import read_json
from stages.reporting.choice import auto_choice
from stages.reporting.comparison import on_splits, row_of
from stages.reporting.comparison_page import Comparison, markdown
from stages.reporting.escaping import in_sheet
from stages.reporting.page.page import page
from stages.reporting.predictions import Predictions
from stages.settings.arguments import params_for


def compare(task: str) -> None:
    """Write metrics/<task>/compare/<variant>.json and to reports/<task>/ the pages and tables."""
    params, definition = params_for(task), read_task(task)
    names, seeds, headline = list(params.quantize), params.finetune.seeds, definition.metrics[0]
    verify_splits(task, "validation")
    for seed, name in product(seeds, names):
        verify_predictions(task, seed, name)
    scores = {(s, name): read_json(paths.accuracy(task, s, name)) for name in names for s in seeds}
    skipped = {name: each["skipped"] for (_, name), each in scores.items() if "skipped" in each}
    names = [name for name in names if name not in skipped]
    predictions = Predictions(definition, seeds, names, variants.REFERENCE)
    by_seed = {
        name: {
            seed: on_splits(definition, seed, name, scores, predictions, params.compare)
            for seed in seeds
        }
        for name in names
    }
    rows = {
        name: row_of(
            definition, name, by_seed[name], scores, predictions, params.compare, params.latency
        )
        for name in names
    }
    on_front = front({name: row.contender for name, row in rows.items()})
    rows = {name: replace(row, on_front=name in on_front) for name, row in rows.items()}
    choice = auto_choice(rows, params)
    flat = {name: row.flat() for name, row in rows.items()}
    with new_folder(paths.METRICS / task / "compare") as folder:
        for name, values in flat.items():
            write_json(folder / f"{name}.json", values)
    table = pd.DataFrame(flat).T.rename_axis("variant")
    for column in ("mean_points", "mean_low", "mean_high"):  # the plot's, whatever the metric is
        table[f"drop_{column}"] = table[f"{headline}_drop_{column}"]
    classes = class_table(definition, seeds[0], names, predictions)
    for_a_sheet = classes.assign(**{"class": classes["class"].map(in_sheet)})
    for name, frame in {"compare": table.reset_index(), "per_class": for_a_sheet}.items():
        with new_file(paths.REPORTS / task / f"{name}.csv") as partial:
            frame.to_csv(partial, index=False)
    comparison = Comparison(rows, by_seed, classes, skipped, choice)
    write_text(
        paths.REPORTS / task / "index.html", page(definition, comparison, predictions, params)
    )
    text = markdown(definition, comparison, params.compare, params.latency)
    write_text(paths.REPORTS / task / "compare.md", text)
    print(text)


def class_table(task: Task, seed: int, names: list[str], predictions: Predictions) -> pd.DataFrame:
    """Precision, recall, F1 and support of each class on validation; no row for a regression."""
    columns = ["variant", "class", "precision", "recall", "f1", "support"]
    if task.regression:
        return pd.DataFrame(columns=columns)
    frames = []
    for name in names:
        answers = predictions.answers(seed, name, "validation")
        frames.append(per_class(task.labels, answers.labels, answers.variant).assign(variant=name))
    return pd.concat(frames)[columns]


if __name__ == "__main__":
    run_stage(compare)
