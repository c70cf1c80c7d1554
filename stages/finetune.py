"""Fine-tune a pretrained model on a task; the same seed gives the same weights on one machine."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from stages import tasks
from stages.measure.accuracy import score
from stages.models import pretrained
from stages.models.artifact import RECIPE, Recipe
from stages.models.classifier import model_inputs
from stages.models.tokens import Tokens, encode
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import new_folder, sha256, write_json, write_text
from stages.plumbing.params import Finetune, load_params
from stages.tasks import Task

if TYPE_CHECKING:
    from transformers import Trainer

# Checkpoints of unfinished trainings; outside the outs, which DVC empties before each run.
UNFINISHED = Path(".training")
FINISHED_WRITING = "complete"


def finetune(task: str) -> None:
    """Write models/<task>/finetuned/, metrics/<task>/finetune.json and the training curve."""
    definition = tasks.get(task)
    recipe = load_params().recipe(task)
    source = pretrained.resolve(recipe.checkpoint or recipe.model)
    model, tokenizer = pretrained.load(
        source, definition.labels, recipe.seed, fine_tuned=bool(recipe.checkpoint)
    )
    longest = min(
        tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 10**6)
    )
    if recipe.max_length > longest:
        raise UserError(
            f"finetune.{task}.max_length is {recipe.max_length}, but {recipe.model} takes at most "
            f"{longest} tokens; lower it"
        )
    facts = Recipe(
        task=task,
        model=recipe.checkpoint or recipe.model,
        weights=source.weights,
        max_length=recipe.max_length,
        inputs=model_inputs(model, tokenizer.model_input_names),
    )
    rows = {name: pd.read_parquet(paths.split(task, name)) for name in ("train", "validation")}
    encoded = {
        name: with_labels(encode(tokenizer, definition, frame, facts), frame)
        for name, frame in rows.items()
    }
    unfinished = UNFINISHED / task
    trainer = make_trainer(model, tokenizer, recipe, encoded, definition, unfinished)
    trains = not recipe.checkpoint and recipe.epochs > 0
    if trains:
        keep_only_own_checkpoints(unfinished, fingerprint(task, recipe, model))
        trainer.train(resume_from_checkpoint=last_checkpoint(unfinished))
    history = trainer.state.log_history if trains else []
    output = trainer.predict(encoded["validation"])
    # Grouped by length, the Trainer predicts in an order of its own: only its labels match.
    result = score(definition.metrics, output.label_ids, output.predictions)

    with new_folder(paths.checkpoint(task)) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write_text(folder / RECIPE, facts.model_dump_json(indent=2) + "\n")
    write_curves(paths.REPORTS / task / "training", history, definition.metrics[0])
    write_json(
        paths.METRICS / task / "finetune.json",
        {"model": facts.model, "weights": facts.weights, "trained": int(trains)}
        | {"device": trainer.args.device.type}
        | {"parameters": sum(p.numel() for p in model.parameters()), "validation": result},
    )
    shutil.rmtree(unfinished, ignore_errors=True)
    report(definition, source.weights, result)


def with_labels(encoded: list[Tokens], rows: pd.DataFrame) -> list[dict[str, Any]]:
    labels = rows["label"].tolist()
    return [tokens | {"labels": label} for tokens, label in zip(encoded, labels, strict=True)]


def make_trainer(
    model: Any,
    tokenizer: Any,
    recipe: Finetune,
    encoded: dict[str, list[dict[str, Any]]],
    task: Task,
    unfinished: Path,
) -> "Trainer":
    from transformers import (
        DataCollatorWithPadding,
        PrinterCallback,
        ProgressCallback,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

    class Progress(ProgressCallback):
        """The bar alone; transformers would print a line per step as well."""

        def on_log(self, *_: Any, **__: Any) -> None: ...

    class MarkComplete(TrainerCallback):
        """A checkpoint without this mark was cut off by a kill and is not resumed from."""

        def on_save(
            self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
        ) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_text(folder / FINISHED_WRITING, "")

    def compute_metrics(prediction: Any) -> dict[str, float]:
        result = score(task.metrics, prediction.label_ids, prediction.predictions)
        return {name: result[name] for name in task.metrics}

    arguments = TrainingArguments(
        output_dir=str(unfinished),
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=32,
        warmup_steps=recipe.warmup_ratio,  # below 1 it is a share of all steps
        weight_decay=recipe.weight_decay,
        seed=recipe.seed,
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        logging_steps=1,
        dataloader_pin_memory=False,
        report_to=[],
        log_level="error",
        disable_tqdm=True,  # brings in PrinterCallback, which Progress replaces
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=compute_metrics,
        callbacks=[MarkComplete()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Progress())
    return trainer


def fingerprint(task: str, recipe: Finetune, model: Any) -> str:
    """What an unfinished training must share with this one to be continued."""
    parts = [sha256(paths.split(task, name)) for name in ("train", "validation")]
    digest = hashlib.sha256(json.dumps([recipe.model_dump(), parts], sort_keys=True).encode())
    digest.update(Path(__file__).read_bytes())
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def keep_only_own_checkpoints(unfinished: Path, wanted: str) -> None:
    mark = unfinished / "fingerprint"
    if not mark.exists() or mark.read_text() != wanted:
        shutil.rmtree(unfinished, ignore_errors=True)
        write_text(mark, wanted)


def last_checkpoint(unfinished: Path) -> str | None:
    found = sorted(
        (mark.parent for mark in unfinished.glob(f"checkpoint-*/{FINISHED_WRITING}")),
        key=lambda folder: int(folder.name.removeprefix("checkpoint-")),
    )
    if found:
        print(f"finetune: continuing from step {found[-1].name.removeprefix('checkpoint-')}")
    return str(found[-1]) if found else None


def write_curves(folder: Path, history: list[dict[str, float]], headline: str) -> None:
    """DVC plots: training loss by step, validation loss and first metric by epoch."""
    curves = {
        "loss": ("step", "loss"),
        "validation_loss": ("epoch", "eval_loss"),
        "validation_score": ("epoch", f"eval_{headline}"),
    }
    with new_folder(folder) as partial:
        for name, (x, y) in curves.items():
            points = [(entry[x], entry[y]) for entry in history if y in entry]
            if name == "loss":  # one per step, averaged here so that a resumed run gives the same
                blocks = [points[i : i + 20] for i in range(0, len(points), 20)]
                points = [(b[-1][0], sum(loss for _, loss in b) / len(b)) for b in blocks]
            column = name.removeprefix("validation_")
            pd.DataFrame(points, columns=[x, column]).to_csv(partial / f"{name}.csv", index=False)


def report(task: Task, weights: str, result: dict[str, float | int]) -> None:
    headline = task.metrics[0]
    line = f"{task.name}: validation {headline} {result[headline]:.4f}, always answering the "
    line += f"majority class {result[f'majority_{headline}']:.4f}"
    print(line + (" (random weights)" if weights == "random" else ""))
    if result["collapsed"]:
        print(f"WARNING: one class takes {result['top_answer_pct']:.1f} % of the predictions")


if __name__ == "__main__":
    run_stage(finetune)
