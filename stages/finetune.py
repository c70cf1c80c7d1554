"""Fine-tune a pretrained model on a task; the same seed gives the same weights on one machine."""

from pathlib import Path

import pandas as pd

from stages.dataset import stored
from stages.dataset.task import Task, read_task
from stages.dataset.verified import verify_splits
from stages.measure.accuracy import score
from stages.model.artifact import RECIPE, Recipe
from stages.model.tokens import encode
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import new_folder, write_json, write_text
from stages.plumbing.lock import locked
from stages.plumbing.manifest import write_checksums
from stages.settings.arguments import params_for
from stages.training.fit import fit, longest_input
from stages.training.label_order import renumbered
from stages.training.loop import UNFINISHED, Examples, Trained, forget, train
from stages.training.model_names import resolve
from stages.training.pretrained import load
from stages.training.token_dropout import token_dropout
from stages.training.used_pieces import keep_used

LONGEST = 512  # tokens, of a checkpoint of which nobody said how many; it may take thousands
PROBED = 16  # training rows that tokenizer and model are tried on together


def finetune(task: str, seed: str) -> None:
    """Write models/<task>/seed_<seed>/finetuned/, its metrics and the training curve."""
    settings = params_for(task).training(task)
    definition = read_task(task)
    if settings.checkpoint:
        settings = settings.model_copy(update={"epochs": 0.0})
    verify_splits(task, "train", "validation")
    files = {name: paths.split(task, name) for name in ("train", "validation")}
    pretrained = resolve(settings.checkpoint or settings.model)
    texts = stored.Texts(files["train"], definition.text_columns)
    model, tokenizer = load(
        pretrained, definition, int(seed), fine_tuned=bool(settings.checkpoint), texts=texts
    )
    described, whole = pretrained.described or pretrained.name, len(tokenizer)
    if settings.vocabulary == "used":
        tokenizer = keep_used(pretrained.name, model, tokenizer, texts)
        described += f", {len(tokenizer):,} of its {whole:,} pieces"
    longest = longest_input(model, tokenizer)
    max_length = settings.max_length or min(longest, LONGEST)
    if max_length > longest:
        raise UserError(
            f"finetune.{task}.max_length is {max_length}, but {pretrained.name} takes at most "
            f"{longest} tokens; lower it"
        )
    probed = stored.first_rows(files["train"], PROBED)
    inputs = fit(pretrained.name, model, tokenizer, definition, probed)
    recipe = Recipe(
        task=task,
        model=described,
        weights=pretrained.weights,
        seed=int(seed),
        max_length=max_length,
        inputs=inputs,
        trained=settings.epochs > 0,
        classes_were=renumbered(settings.checkpoint, definition) if settings.checkpoint else (),
    )
    columns = definition.text_columns
    encoded = {
        name: Examples(
            encode(tokenizer, definition, stored.pieces(file, columns), recipe), stored.labels(file)
        )
        for name, file in files.items()
    }
    unfinished = UNFINISHED / f"{task}-{seed}"
    with locked(unfinished):
        with token_dropout(model, tokenizer, settings.token_dropout):
            trained = train(
                model,
                tokenizer,
                settings,
                int(seed),
                encoded["train"],
                unfinished,
                "stages.finetune",
                f"token_dropout {settings.token_dropout}",
                encoded["validation"],
                lambda labels, logits: score(definition.metrics, labels, logits),
            )
        with new_folder(paths.checkpoint(task, seed)) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            write_text(folder / RECIPE, recipe.model_dump_json(indent=2) + "\n")
            write_checksums(folder)
        forget(unfinished)
    write_curves(paths.training(task, seed), trained, definition.metrics[0])
    write_json(
        paths.metric(task, "finetune", f"seed_{seed}"),
        {"model": recipe.model, "weights": recipe.weights, "trained": int(recipe.trained)}
        | {"device": trained.device}
        | {"parameters": sum(p.numel() for p in model.parameters())}
        | {"validation": trained.validation},
    )
    report(definition, seed, pretrained.weights, trained.validation)


def write_curves(folder: Path, trained: Trained, headline: str) -> None:
    """DVC plots: training loss by step, validation loss and first metric by epoch."""
    curves = {
        "loss": ("step", "loss"),
        "validation_loss": ("epoch", "eval_loss"),
        "validation_score": ("epoch", f"eval_{headline}"),
    }
    with new_folder(folder) as partial:
        for name, (x, y) in curves.items():
            points = [(entry[x], entry[y]) for entry in trained.history if y in entry]
            if name == "loss":  # one per step, averaged here so that a resumed run gives the same
                blocks = [points[i : i + 20] for i in range(0, len(points), 20)]
                points = [(b[-1][0], sum(loss for _, loss in b) / len(b)) for b in blocks]
            column = name.removeprefix("validation_")
            pd.DataFrame(points, columns=[x, column]).to_csv(partial / f"{name}.csv", index=False)


def report(task: Task, seed: str, weights: str, result: dict[str, float]) -> None:
    headline = task.metrics[0]
    line = f"{task.name}, seed {seed}: validation {headline} {result[headline]:.4f}, always giving "
    line += f"the same answer {result[f'majority_{headline}']:.4f}"
    print(line + ("" if weights == "pretrained" else f" ({weights} weights)"))


if __name__ == "__main__":
    run_stage(finetune)
