"""Score one variant on every split that has labels, validation first; never on train."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from stages import variants
from stages.dataset.task import read_task
from stages.dataset.verified import CHECKSUM, verify_splits
from stages.measure.accuracy import answers, has_collapsed, score
from stages.model.artifact import verify
from stages.model.tokens import batches_of, load_tokenizer, predict_all
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import new_file, read_json, sha256, write_json, write_text
from stages.settings.params import load_params


def evaluate(task: str, seed: str, variant: str) -> None:
    """Write metrics/<task>/accuracy/seed_<seed>/<variant>.json and the predictions of every row."""
    settings, definition = load_params().evaluate, read_task(task)
    artifact = paths.artifact(task, seed, variant)
    manifest = verify(artifact)
    verify_splits(task, *definition.scored)
    recipe = manifest.recipe
    if manifest.skipped:
        write_text(paths.predictions(task, seed, variant), "")
        write_json(paths.accuracy(task, seed, variant), {"skipped": manifest.skipped})
        print(f"{variant}: SKIPPED, {manifest.skipped}")
        return
    tokenizer = load_tokenizer(artifact)
    counted: dict[str, int] = {}
    predict = variants.get(variant).load_counting(artifact, counted)
    metrics: dict[str, object] = {}
    predictions = []
    for split in definition.scored:
        rows = recipe.scored(pd.read_parquet(paths.split(task, split)))
        sorted_batches = batches_of(
            tokenizer, definition, rows, recipe, settings.batch_size, settings.padding
        )
        total = -(-len(rows) // settings.batch_size)
        logits = predict_all(predict, tqdm(sorted_batches, f"{variant} {split}", total), len(rows))
        result = score(definition.metrics, rows["label"].to_numpy(), logits)
        often = result["top_answer_pct"], result["top_label_pct"]
        collapsed = has_collapsed(*often, settings.min_other_answers_pct)
        result["collapsed"] = int(collapsed)
        if collapsed and split == "validation" and recipe.weights != "random":
            refuse_collapse(task, variant, *often)
        metrics[split] = result
        predictions.append(table(split, rows, logits))
        report(f"{variant}, seed {seed},", split, definition.metrics, result)
    with new_file(paths.predictions(task, seed, variant)) as partial:
        pd.concat(predictions).to_csv(partial, index=False, float_format="%.9g")
    metrics |= {"distance_from_fp32": manifest.distance_from_fp32}
    metrics |= {"weights": recipe.weights, "kernel": variants.get(variant).kernel()}
    metrics |= {CHECKSUM: sha256(paths.predictions(task, seed, variant))}
    metrics |= read_json(paths.ARITHMETIC) | counted
    for what, number in counted.items():
        print(f"{variant}: {what} {number}")
    write_json(paths.accuracy(task, seed, variant), metrics)


def table(split: str, rows: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:
    """One row per text: split, id, label, predicted, and a logit per class."""
    columns = {f"logit_{i}": logits[:, i] for i in range(logits.shape[1])}
    facts = {"split": split, "id": rows["id"], "label": rows["label"]}
    return pd.DataFrame(facts | {"predicted": answers(logits)} | columns)


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
