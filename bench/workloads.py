"""What is run: batches of the 408 real pairs, texts of fixed lengths, and the two models."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.ours import TASK, TRAIN
from stages.dataset.task import Task, read_task
from stages.model.artifact import RECIPE, Recipe, copy_without_weights, read_recipe
from stages.model.tokens import Batch, encode, load_tokenizer, pad
from stages.plumbing import paths
from stages.plumbing.command import UserError
from stages.plumbing.files import new_folder, write_text
from stages.settings.params import load_params

BERT, MINILM = "bert-base", "minilm"
MRPC, FALLBACK = "mrpc", "movie_reviews"
PAIRS = 408  # rows of MRPC's validation split
TUTORIAL_BATCH, TUTORIAL_LENGTH = 8, 128
LENGTHS = (16, 32, 128, 256, 384)
SPLITS = ("train", "validation")
RANDOM = "random:bert-base-uncased"


@dataclass(frozen=True)
class Rows:
    """Attributes:
    task: `mrpc`, or what stands in for it.
    train: all of them, for what a variant learns before it is built.
    validation: that are timed.
    """

    task: Task
    train: pd.DataFrame
    validation: pd.DataFrame


def rows(limit: int) -> Rows:
    """MRPC; where no source of it can be reached, the task that travels in a package.

    Args:
        limit: of the validation rows.
    """
    params = load_params()
    for name in (MRPC, FALLBACK):
        if all(paths.split(name, part).exists() for part in SPLITS):
            train, validation = (pd.read_parquet(paths.split(name, p)) for p in SPLITS)
            return Rows(read_task(name), train, validation.head(limit))
        dataset = params.dataset(name)
        if name == FALLBACK or dataset.reachable(params.download_glue):
            splits = dataset.fetch(params.download_glue).splits
            train, validation = (frame(splits[part]) for part in SPLITS)
            return Rows(dataset.task, train, validation.head(limit))
        print(f"MRPC cannot be had here (see GLUE_MIRROR): {FALLBACK} instead", flush=True)
    raise AssertionError("the last one is always tried")


def frame(split: object) -> pd.DataFrame:
    return split if isinstance(split, pd.DataFrame) else pd.concat(list(split))  # type: ignore


def random_model(rows: Rows, folder: Path) -> Path:
    """BERT-base at full size with random weights: its speed and size are real, its answers not."""
    from stages.training.fit import model_inputs
    from stages.training.model_names import resolve
    from stages.training.pretrained import load

    model, tokenizer = load(resolve(RANDOM), rows.task, seed=0)
    inputs = model_inputs(model, tokenizer.model_input_names)
    recipe = Recipe(
        task=rows.task.name, model=RANDOM, weights="random", seed=0, max_length=128, inputs=inputs
    )
    with new_folder(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        write_text(partial / RECIPE, recipe.model_dump_json(indent=2) + "\n")
        add_rows(rows, partial)
    return folder


def fine_tuned_model(rows: Rows, checkpoint: Path | None, folder: Path) -> Path:
    """A copy of the pipeline's own checkpoint, MiniLM-L6.

    Raises:
        UserError: there is none.
    """
    source = checkpoint or paths.checkpoint(rows.task.name, load_params().finetune.seeds[0])
    if not (source / RECIPE).exists():
        raise UserError(
            f"{source} holds no fine-tuned model; run 'make repro' first, or give another with "
            "--checkpoint, or leave this model out with --models bert-base"
        )
    with new_folder(folder) as partial:
        copy_without_weights(source, partial)
        for path in source.glob("*.safetensors"):
            (partial / path.name).write_bytes(path.read_bytes())
        add_rows(rows, partial)
    return folder


def add_rows(rows: Rows, folder: Path) -> None:
    rows.train.to_parquet(folder / TRAIN)
    write_text(folder / TASK, rows.task.model_dump_json())


@dataclass(frozen=True)
class Workload:
    """What every runner of one model is given, the same for all.

    Attributes:
        batches: by name; `sorted-<n>` (sorted by length, padded to the longest of the batch),
            `tutorial-<n>` (as they come, padded to 128) and `length-<tokens>` (one text).
        positions: name -> rows of the split that a batch holds, where it holds such.
        tokens: name -> its tokens without padding.
    """

    batches: dict[str, Batch]
    positions: dict[str, list[int]]
    tokens: dict[str, int]

    def names(self, kind: str) -> list[str]:
        return [name for name in self.batches if name.startswith(f"{kind}-")]


def make_workload(
    checkpoint: Path, rows: Rows, batch_size: int, lengths: tuple[int, ...]
) -> Workload:
    recipe, tokenizer = read_recipe(checkpoint), load_tokenizer(checkpoint)
    tokens = encode(tokenizer, rows.task, rows.validation, recipe)
    batches: dict[str, Batch] = {}
    positions: dict[str, list[int]] = {}
    by_length = np.argsort([len(row["input_ids"]) for row in tokens], kind="stable").tolist()
    longest = min(TUTORIAL_LENGTH, recipe.max_length)
    for kind, order, size, padding in (
        ("sorted", by_length, batch_size, "longest"),
        ("tutorial", list(range(len(tokens))), TUTORIAL_BATCH, "max_length"),
    ):
        for number, start in enumerate(range(0, len(order), size)):
            name = f"{kind}-{number}"
            positions[name] = order[start : start + size]
            chosen = [tokens[i] for i in positions[name]]
            batches[name] = pad(tokenizer, chosen, padding, longest)
    random = np.random.default_rng(0)
    for length in lengths:
        ids = random.integers(5, len(tokenizer), size=(1, length))
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        one = {name: known.get(name, np.zeros_like(ids)) for name in recipe.inputs}
        batches[f"length-{length}"] = one
    counted = {name: int(batch["attention_mask"].sum()) for name, batch in batches.items()}
    return Workload(batches, positions, counted)


@dataclass(frozen=True)
class Operations:
    """Multiplications and additions of a BERT encoder's Linear layers for one token.

    Products of two activations (in attention), pooler and classifier are left out.

    Attributes:
        each: of all layers.
        last: those of the last layer behind its keys and values, which only the first token of a
            text needs.
    """

    each: float
    last: float

    def of(self, tokens: int, asked: int) -> float:
        """Of a pass over so many tokens, of which the last layer asks some."""
        return (self.each - self.last) * tokens + self.last * asked


def operations_per_token(checkpoint: Path) -> Operations:
    from torch import nn

    from stages.model.classifier import without_weights

    linears = {
        name: layer.weight.numel()
        for name, layer in without_weights(checkpoint).named_modules()
        if isinstance(layer, nn.Linear) and "encoder" in name.split(".")
    }
    layers = {name: int(next(filter(str.isdigit, name.split(".")))) for name in linears}
    last = sum(
        count
        for name, count in linears.items()
        if layers[name] == max(layers.values()) and not name.endswith((".key", ".value"))
    )
    return Operations(2.0 * sum(linears.values()), 2.0 * last)
