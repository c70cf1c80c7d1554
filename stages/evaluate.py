"""Score one variant on every split that has labels, validation first; never on train."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages import variants
from stages.dataset import stored
from stages.dataset.task import Task, read_task
from stages.dataset.verified import CHECKSUM, verify_splits
from stages.measure.accuracy import Tally, answers, has_collapsed
from stages.model.artifact import Recipe, verify
from stages.model.tokens import Batch, Predict, batches, load_tokenizer, predict_all, windows
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import new_file, sha256, write_json, write_text
from stages.plumbing.json_file import read_json
from stages.reporting.escaping import in_sheet
from stages.settings.arguments import params_for
from stages.settings.params import Evaluate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def evaluate(task: str, seed: str, variant: str) -> None:
    """Write metrics/<task>/accuracy/seed_<seed>/<variant>.json and the predictions of every row."""
    settings, definition = params_for(task, variant).evaluate, read_task(task)
    artifact = paths.artifact(task, seed, variant)
    manifest = verify(artifact)
    verify_splits(task, *definition.scored)
    recipe = manifest.recipe
    if manifest.skipped:
        write_text(paths.predictions(task, seed, variant), "")
        write_json(paths.accuracy(task, seed, variant), {"skipped": manifest.skipped})
        print(f"{variant}: SKIPPED, {manifest.skipped}")
        return
    counted: dict[str, int] = {}
    predict = variants.get(variant).load_counting(artifact, counted)
    loaded = Loaded(definition, recipe, load_tokenizer(artifact), predict)
    metrics: dict[str, object] = {}
    with (
        new_file(paths.predictions(task, seed, variant)) as partial,
        partial.open("w", encoding="utf-8", newline="") as predictions,
    ):
        for split in definition.scored:
            tally = Tally()
            for rows, logits in predicted(loaded, split, f"{variant} {split}", settings):
                write_table(split, rows, logits, predictions)
                tally.add(rows["label"].to_numpy(), logits)
            result = tally.scores(definition.metrics)
            often = result["top_answer_pct"], result["top_label_pct"]
            collapsed = has_collapsed(*often, settings.min_other_answers_pct)
            result["collapsed"] = int(collapsed)
            if collapsed and split == "validation" and recipe.weights != "random":
                refuse_collapse(task, variant, *often)
            metrics[split] = result
            report(f"{variant}, seed {seed},", split, definition.metrics, result)
    metrics |= {"distance_from_fp32": manifest.distance_from_fp32}
    metrics |= {"weights": recipe.weights, "kernel": variants.get(variant).kernel()}
    metrics |= {CHECKSUM: sha256(paths.predictions(task, seed, variant))}
    metrics |= read_json(paths.ARITHMETIC) | counted
    for what, number in counted.items():
        print(f"{variant}: {what} {number}")
    write_json(paths.accuracy(task, seed, variant), metrics)


@dataclass(frozen=True)
class Loaded:
    """A variant, ready to be asked about the rows of a task."""

    task: Task
    recipe: Recipe
    tokenizer: "PreTrainedTokenizerBase"
    predict: Predict


def predicted(
    loaded: Loaded, split: str, title: str, settings: Evaluate
) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
    """Id and label of the rows, and their logits: of the whole split, or window by window."""
    task, recipe, file = loaded.task, loaded.recipe, paths.split(loaded.task.name, split)
    pieces = stored.pieces(file, ("id", *task.text_columns, "label"), recipe.scored)
    total = min(stored.count(file), recipe.scored or sys.maxsize)
    with tqdm(desc=title, total=total, unit=" texts") as bar:
        for rows, tokens in windows(loaded.tokenizer, task, pieces, recipe):
            fed = batches(
                loaded.tokenizer, tokens, settings.batch_size, settings.padding, recipe.max_length
            )
            yield rows, predict_all(loaded.predict, shown(fed, bar), len(rows))


def shown(
    sorted_batches: Iterable[tuple[np.ndarray, Batch]], bar: tqdm
) -> Iterator[tuple[np.ndarray, Batch]]:
    for positions, batch in sorted_batches:
        yield positions, batch
        bar.update(len(positions))


def write_table(split: str, rows: pd.DataFrame, logits: np.ndarray, predictions: TextIO) -> None:
    """One row per text: split, id, label, predicted, and a logit per class."""
    columns = {f"logit_{i}": logits[:, i] for i in range(logits.shape[1])}
    facts = {"split": split, "id": rows["id"].map(in_sheet), "label": rows["label"]}
    table = pd.DataFrame(facts | {"predicted": answers(logits)} | columns)
    is_first = not predictions.tell()
    table.to_csv(predictions, header=is_first, index=False, float_format="%.9g")


def report(
    variant: str, split: str, names: tuple[str, ...], result: dict[str, float | int]
) -> None:
    scores = ", ".join(
        f"{name} {result[name]:.4f} (constant answer {result[f'majority_{name}']:.4f})"
        for name in names
    )
    print(f"{variant} on {split} (n={result['n']}): {scores}")


def refuse_collapse(task: str, variant: str, top_answer_pct: float, top_label_pct: float) -> None:
    """A model that hardly ever changes its answer can score well, and is worth nothing.

    Raises:
        UserError: always.
    """
    cure = (
        "train longer or at another learning rate (finetune)"
        if variant == variants.REFERENCE
        else f"take it out of 'quantize' in params.yaml, or change quantize.{variant}"
    )
    raise UserError(
        f"{variant} of {task} has collapsed: one answer takes {top_answer_pct:.1f} % of "
        f"validation, the most frequent label {top_label_pct:.1f} %; {cure}, or, if so few other "
        "answers are right, lower evaluate.min_other_answers_pct (0: never refuse)"
    )


if __name__ == "__main__":
    run_stage(evaluate)
