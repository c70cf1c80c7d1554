"""Training with fake rounding, and building the int8 model that it simulated."""

from pathlib import Path
from typing import Any, Literal

import pandas as pd
from safetensors.torch import load_file, save_file
from torch import nn

from stages.engines.int8 import layers
from stages.engines.int8.calibration import padded
from stages.model.artifact import WEIGHTS, read_recipe
from stages.model.classifier import load_checkpoint, predictor, without_weights
from stages.model.ingredients import Ingredients
from stages.model.tokens import encode, load_tokenizer, predict_all
from stages.training.loop import UNFINISHED, Schedule, forget, train, with_labels
from stages.variants.int8_qat.fake_quant import convert, prepare


def train_with_rounding(
    ingredients: Ingredients,
    schedule: Schedule,
    target: Literal["fp32_logits", "labels"],
    bits: int,
    decay: float,
) -> None:
    """Write the trained weights and, among them, the range of each layer's input."""
    recipe, rows = read_recipe(ingredients.checkpoint), pd.read_parquet(ingredients.train)
    tokenizer = load_tokenizer(ingredients.checkpoint)
    model = load_checkpoint(ingredients.checkpoint)
    examples = with_labels(encode(tokenizer, ingredients.task, rows, recipe), rows)
    if target == "fp32_logits":
        padded_batches = padded(ingredients.task, ingredients.checkpoint, rows)
        logits = predict_all(predictor(model), padded_batches, len(rows))
        examples = [
            row | {"labels": wanted} for row, wanted in zip(examples, logits.tolist(), strict=True)
        ]
        config: Any = model.config
        config.problem_type = "regression"  # mean squared error over all logits
        for child in model.modules():
            if isinstance(child, nn.Dropout):
                child.p = 0.0  # the logits to learn were computed without
    prepare(model, bits, decay)
    unfinished, settings = unfinished_of(ingredients), f"{bits} {decay} {target}"
    train(model, tokenizer, schedule, recipe.seed, examples, unfinished, __name__, settings)
    save_file(model.state_dict(), ingredients.learned / WEIGHTS)


def quantize_as_trained(ingredients: Ingredients, folder: Path, bits: int) -> None:
    state = load_file(ingredients.learned / WEIGHTS)
    layers.save(convert(without_weights(folder), state, bits), folder / WEIGHTS)
    forget(unfinished_of(ingredients))


def unfinished_of(ingredients: Ingredients) -> Path:
    seed = read_recipe(ingredients.checkpoint).seed
    return UNFINISHED / f"{ingredients.task.name}-{seed}-{Path(__file__).parent.name}"
