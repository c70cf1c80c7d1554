"""Training with fake rounding, and quantizing what it trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from stages.engines.ibert.engine import quantize, safe_weights
from stages.model.artifact import WEIGHTS, copy_without_weights, read_recipe
from stages.model.classifier import load_checkpoint
from stages.model.ingredients import Ingredients
from stages.model.tokens import load_tokenizer
from stages.training.loop import UNFINISHED, Schedule, forget, train
from stages.training.targets import Target, examples_to_learn
from stages.variants.ibert_qat.fake_rounding import prepare


def train_with_rounding(
    ingredients: Ingredients, schedule: Schedule, target: Target, max_weight_error: float
) -> None:
    """Write the trained model as an fp32 checkpoint.

    Raises:
        Skipped: see `quantize` of engines/ibert/.
    """
    checkpoint = ingredients.checkpoint
    seed, tokenizer = read_recipe(checkpoint).seed, load_tokenizer(checkpoint)
    model: Any = load_checkpoint(checkpoint)
    examples = examples_to_learn(ingredients, model, target)
    prepare(model, safe_weights(model, max_weight_error))
    unfinished, settings = unfinished_of(ingredients), f"{max_weight_error} {target}"
    train(model, tokenizer, schedule, seed, examples, unfinished, __name__, settings)
    copy_without_weights(checkpoint, ingredients.learned)
    save_file(model.state_dict(), ingredients.learned / WEIGHTS, {"format": "pt"})


def quantize_as_trained(
    ingredients: Ingredients, folder: Path, max_weight_error: float, rows: int
) -> None:
    trained = replace(ingredients, checkpoint=ingredients.learned)
    quantize(trained, folder, max_weight_error, rows)
    forget(unfinished_of(ingredients))


def unfinished_of(ingredients: Ingredients) -> Path:
    seed = read_recipe(ingredients.checkpoint).seed
    return UNFINISHED / f"{ingredients.task.name}-{seed}-{Path(__file__).parent.name}"
