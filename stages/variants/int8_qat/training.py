"""Training with fake rounding, and building the int8 model that it simulated."""

from pathlib import Path

from safetensors.torch import load_file, save_file

from stages.engines.int8 import layers
from stages.model.artifact import WEIGHTS, read_recipe
from stages.model.classifier import load_checkpoint, without_weights
from stages.model.ingredients import Ingredients
from stages.model.tokens import load_tokenizer
from stages.training.loop import UNFINISHED, Schedule, forget, train
from stages.training.targets import Target, examples_to_learn
from stages.variants.int8_qat.fake_quant import convert, prepare


def train_with_rounding(
    ingredients: Ingredients, schedule: Schedule, target: Target, bits: int, decay: float
) -> None:
    """Write the trained weights and, among them, the range of each layer's input."""
    seed, tokenizer = (
        read_recipe(ingredients.checkpoint).seed,
        load_tokenizer(ingredients.checkpoint),
    )
    model = load_checkpoint(ingredients.checkpoint)
    examples = examples_to_learn(ingredients, model, target)
    prepare(model, bits, decay)
    unfinished, settings = unfinished_of(ingredients), f"{bits} {decay} {target}"
    train(model, tokenizer, schedule, seed, examples, unfinished, __name__, settings)
    save_file(model.state_dict(), ingredients.learned / WEIGHTS)


def quantize_as_trained(ingredients: Ingredients, folder: Path, bits: int) -> None:
    state = load_file(ingredients.learned / WEIGHTS)
    layers.save(convert(without_weights(folder), state, bits), folder / WEIGHTS)
    forget(unfinished_of(ingredients))


def unfinished_of(ingredients: Ingredients) -> Path:
    seed = read_recipe(ingredients.checkpoint).seed
    return UNFINISHED / f"{ingredients.task.name}-{seed}-{Path(__file__).parent.name}"
