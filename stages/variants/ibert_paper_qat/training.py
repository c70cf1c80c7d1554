"""Training with transformers' simulation of I-BERT in each forward pass."""

import shutil
from pathlib import Path

from stages.dataset import stored
from stages.engines.ibert_simulation import simulation
from stages.model.artifact import WEIGHTS, read_recipe
from stages.model.ingredients import Ingredients
from stages.model.tokens import encode, load_tokenizer
from stages.training.loop import UNFINISHED, Examples, Schedule, forget, train

NAME = "ibert_paper_qat"


def train_simulation(ingredients: Ingredients, schedule: Schedule, rows: int) -> None:
    """Write the trained weights and ranges; the ranges follow the training as a moving average.

    Args:
        rows: of the training split, for the ranges at the start.
    """
    recipe, task = read_recipe(ingredients.checkpoint), ingredients.task
    tokenizer = load_tokenizer(ingredients.checkpoint)
    model = simulation.calibrated(ingredients, rows)
    pieces = stored.pieces(ingredients.train, task.text_columns)
    encoded = encode(tokenizer, task, pieces, recipe)
    examples = Examples(encoded, stored.labels(ingredients.train))
    unfinished = unfinished_of(ingredients)
    train(model, tokenizer, schedule, recipe.seed, examples, unfinished, __name__, f"rows {rows}")
    simulation.save(model, ingredients.learned / WEIGHTS)


def write_as_trained(ingredients: Ingredients, folder: Path) -> None:
    shutil.copyfile(ingredients.learned / WEIGHTS, folder / WEIGHTS)
    simulation.introduce(NAME)
    forget(unfinished_of(ingredients))


def unfinished_of(ingredients: Ingredients) -> Path:
    seed = read_recipe(ingredients.checkpoint).seed
    return UNFINISHED / f"{ingredients.task.name}-{seed}-{NAME}"
