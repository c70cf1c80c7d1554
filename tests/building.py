"""What stage quantize does, in this process, on few rows."""

import shutil
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from stages import variants
from stages.dataset.task import Task
from stages.model.artifact import RECIPE, Recipe, copy_without_weights, read_manifest
from stages.model.classifier import load_checkpoint, write_torchscript
from stages.model.tokens import Batch, load_tokenizer
from stages.plumbing.files import write_json, write_text
from stages.reporting.model_card import how_to_use
from stages.running.exported_folder import write_export_manifest, write_predict, write_tokenizer
from stages.tasks import mrpc
from stages.variants import Ingredients
from tests.conftest import mrpc_lines

INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def batch(rows: int = 5, length: int = 12, vocabulary: int = 70) -> Batch:
    """Rows of different lengths, padded."""
    random = np.random.default_rng(0)
    mask = (np.arange(length) < random.integers(3, length + 1, size=(rows, 1))).astype(np.int64)
    ids = random.integers(5, vocabulary, size=(rows, length)) * mask
    return {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "attention_mask": mask}


def flip(file: Path) -> None:
    """One bit, in the middle of it, also where it may only be read."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def training_rows(rows: int) -> pd.DataFrame:
    cells = [line.split("\t") for line in mrpc_lines()["train"][:rows]]
    table = pd.DataFrame(cells, columns=["label", "first", "second", "sentence1", "sentence2"])
    return pd.DataFrame(
        {
            "id": table["first"] + "-" + table["second"],
            "sentence1": table["sentence1"],
            "sentence2": table["sentence2"],
            "label": table["label"].astype(int),
        }
    )


def make_ingredients(
    checkpoint: Path, folder: Path, inputs: list[str] = INPUTS, rows: int = 48
) -> Ingredients:
    """A copy of `checkpoint` as stage finetune leaves it, and `rows` rows of MRPC's train."""
    shutil.copytree(checkpoint, folder / "finetuned")
    recipe = Recipe(task="mrpc", model="m", weights="random", seed=42, max_length=32, inputs=inputs)
    write_json(folder / "finetuned" / RECIPE, recipe.model_dump())
    training_rows(rows).to_parquet(folder / "train.parquet")
    return Ingredients(
        mrpc.DATASET.task, folder / "finetuned", folder / "train.parquet", folder / "learned"
    )


def as_if_trained(checkpoint: Path, folder: Path) -> Path:
    """A copy whose layers move their input as far as trained ones do; fresh ones hardly do."""
    shutil.copytree(checkpoint, folder)
    module = load_checkpoint(checkpoint)
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.15)
            torch.nn.init.normal_(layer.bias, std=0.1)
    module.save_pretrained(folder)  # type: ignore[operator]
    return folder


def calibrate(name: str, ingredients: Ingredients, folder: Path, **settings: object) -> Ingredients:
    """Let the variant learn what it will, into `folder`, which stays; `build` throws it away."""
    ingredients = replace(ingredients, learned=folder)
    folder.mkdir(parents=True)
    with chdir(folder.parent):  # where a training leaves its checkpoints
        variants.get(name).calibrate(ingredients, variants.get(name).params(**settings))
    return ingredients


def build(name: str, ingredients: Ingredients, folder: Path, **settings: object) -> Path:
    """What stage quantize does; `folder` becomes the artifact."""
    ingredients = replace(ingredients, learned=folder.with_name(f"{folder.name}.learned"))
    folder.mkdir(parents=True)
    with chdir(folder.parent):
        variants.build_artifact(name, ingredients, variants.get(name).params(**settings), folder)
    return folder


def ship(artifact: Path, folder: Path, files: list[str], task: Task = mrpc.DATASET.task) -> Path:
    """What stage export leaves around model files; of the card, how to use it."""
    manifest = read_manifest(artifact)
    copy_without_weights(artifact, folder)
    write_tokenizer(load_tokenizer(artifact), manifest.recipe.max_length, folder)
    predicting = write_predict(files, folder)
    write_text(folder / "README.md", "\n".join(how_to_use(task, manifest.recipe, predicting)))
    write_export_manifest(folder, task, manifest, predicting)
    return folder


def ship_traced(artifact: Path, folder: Path, task: Task = mrpc.DATASET.task) -> Path:
    """`ship` of TorchScript alone; where the task wants other logits, of a head of its own."""
    module = load_checkpoint(artifact)
    if module.config.num_labels != task.outputs:  # type: ignore[union-attr]
        torch.manual_seed(0)
        module.classifier = torch.nn.Linear(32, task.outputs)
    folder.mkdir()
    write_torchscript(module, read_manifest(artifact).recipe.inputs, folder / "model.pt")
    return ship(artifact, folder, ["model.pt"], task)
