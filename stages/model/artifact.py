"""The folder `models/<task>/seed_<seed>/<variant>/`: what a variant needs, and a manifest."""

import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from stages.plumbing.command import UserError
from stages.plumbing.files import read_json, sha256, write_json

MANIFEST = "manifest.json"
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
    """Configuration and tokenizer of a checkpoint folder."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix not in (".safetensors", ".bin", ".pt"):
            shutil.copyfile(path, target / path.name)


def checksums(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): sha256(path) for path in files if path.name != MANIFEST}


def read_recipe(checkpoint: Path) -> Recipe:
    return Recipe.model_validate(read_json(checkpoint / RECIPE))


def write_manifest(
    folder: Path, variant: str, parameters: dict[str, Any], **facts: Any
) -> Manifest:
    """Describe what lies in `folder`, a recipe among it; `facts` are further fields."""
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
        UserError: no artifact there.
    """
    if not (folder / MANIFEST).exists():
        raise UserError(f"{folder} holds no artifact; run 'dvc repro' (or 'dvc pull') first")
    return Manifest.model_validate(read_json(folder / MANIFEST))


def verify(folder: Path) -> Manifest:
    """Compare every file of an artifact with its manifest.

    Raises:
        UserError: a file is missing or was altered.
    """
    manifest = read_manifest(folder)
    present = checksums(folder)
    for name, expected in manifest.sha256.items():
        if present.get(name) != expected:
            state = "is missing" if name not in present else "was altered"
            raise UserError(f"{folder / name} {state}; run 'dvc checkout' to restore it")
    return manifest
