"""The folder `models/<task>/seed_<seed>/<variant>/`: what a variant needs, and a manifest."""

import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.plumbing.json_file import as_model, read_as
from stages.plumbing.manifest import (
    MANIFEST,
    SHA256,
    check_links,
    checksums,
    read_listed,
    verify_files,
    verify_folder,
)
from stages.plumbing.private import cleaned

RECIPE = "recipe.json"
WEIGHTS = "model.safetensors"
# What must be said of a model by where its weights come from.
WARNINGS = {
    "random": "RANDOM WEIGHTS: latency and size are real, accuracy means nothing.",
    "scratch": "FROM SCRATCH: this model was not pretrained, it learned from this task's training "
    "texts alone; a pretrained one would score higher.",
}

# Texts per split on which a model of random weights is run: enough to see that it runs, and that
# its exports give its answers.
RANDOM_ROWS = 32


class Recipe(BaseModel):
    """What `finetune` leaves beside its weights, for every later stage.

    Attributes:
        model: the name in params.yaml.
        weights: `pretrained`, `scratch` (random at the start, then trained on the task alone) or
            `random` (not trained at all).
        seed: of the training.
        max_length: tokens that a row was cut to in training.
        inputs: names of the arrays that the model reads.
        trained: here; a checkpoint was trained elsewhere.
        classes_were: a checkpoint's classes in its own order, where the task's is another.
    """

    model_config = ConfigDict(frozen=True)

    task: str
    model: str
    weights: str
    seed: int
    max_length: int
    inputs: list[str]
    trained: bool = True
    classes_were: tuple[str, ...] = ()

    @property
    def scored(self) -> int | None:
        """How many rows of a split are worth scoring: all (None), of random weights a few."""
        return RANDOM_ROWS if self.weights == "random" else None


class Manifest(BaseModel):
    """What an artifact is.

    Attributes:
        parameters: `quantize.<variant>` as it was built.
        distance_from_fp32: of its logits on training rows, see stages/model/nearness.py.
        quantized_ops: operators that really run in reduced precision, counted after loading.
        skipped: why the variant could not be built here; then there are no weights.
        sha256: file name -> checksum, of every other file in the folder.
    """

    model_config = ConfigDict(frozen=True)

    format: int = 1
    variant: str
    recipe: Recipe
    parameters: dict[str, Any]
    quantized_ops: int = 0
    distance_from_fp32: float = 0.0
    skipped: str = ""
    sha256: dict[str, str]


def copy_without_weights(source: Path, target: Path) -> None:
    """Configuration and tokenizer of a checkpoint folder; of one with a manifest, what it lists.

    Raises:
        UserError: a listed file is missing or was altered; without a list, a link leads out.
    """
    if (source / MANIFEST).exists():
        files = [name for name in read_listed(source)[SHA256] if is_setting(name)]
        verify_files(source, files)
    else:
        check_links(source)
        files = [path.name for path in source.iterdir() if path.is_file() and is_setting(path.name)]
    for name in files:
        shutil.copyfile(source / name, target / name)


def is_setting(name: str) -> bool:
    return "/" not in name and Path(name).suffix not in (".safetensors", ".bin", ".pt")


def read_recipe(checkpoint: Path) -> Recipe:
    return read_as(Recipe, checkpoint / RECIPE)


def write_manifest(
    folder: Path, variant: str, parameters: dict[str, Any], **facts: Any
) -> Manifest:
    """Describe what lies in `folder`, a recipe among it; `facts` are further fields."""
    if "skipped" in facts:  # why, in the words of a compiler or library, and metrics repeat it
        facts["skipped"] = cleaned(facts["skipped"])
    manifest = Manifest(
        variant=variant,
        recipe=read_recipe(folder),
        parameters=parameters,
        sha256=checksums(folder),
        **facts,
    )
    write_json(folder / MANIFEST, manifest.model_dump())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact; its files are not checked (see `verify`).

    Raises:
        UserError: no artifact there, or its manifest is damaged.
    """
    if not (folder / MANIFEST).exists():
        raise UserError(f"{folder} holds no artifact; run 'dvc repro' (or 'dvc pull') first")
    return as_model(Manifest, read_listed(folder), folder / MANIFEST)


def verify(folder: Path) -> Manifest:
    """The manifest of an artifact, once it is all that lies there and unaltered.

    Raises:
        UserError: a file is missing, was altered or is not in the list.
    """
    read_manifest(folder)
    return Manifest.model_validate(verify_folder(folder))
