"""What quantization-aware training learns: the labels, or fp32's own logits."""

from typing import Any, Literal

import pandas as pd
from torch import nn

from stages.model.artifact import read_recipe
from stages.model.classifier import predictor
from stages.model.ingredients import Ingredients
from stages.model.tokens import batches_of, encode, load_tokenizer, predict_all
from stages.training.loop import Example, with_labels

Target = Literal["fp32_logits", "labels"]
BATCH_SIZE = 32


def examples_to_learn(ingredients: Ingredients, model: nn.Module, target: Target) -> list[Example]:
    """The training rows with their labels, or with the logits that `model` gives them.

    To learn logits, `model` gets mean squared error as its loss and loses its dropout, without
    which they were computed.
    """
    recipe, rows = read_recipe(ingredients.checkpoint), pd.read_parquet(ingredients.train)
    tokenizer, task = load_tokenizer(ingredients.checkpoint), ingredients.task
    examples = with_labels(encode(tokenizer, task, rows, recipe), rows)
    if target == "labels":
        return examples
    padded = batches_of(tokenizer, task, rows, recipe, BATCH_SIZE, "longest")
    logits = predict_all(predictor(model), padded, len(rows))
    config: Any = model.config
    config.problem_type = "regression"  # mean squared error over all logits
    for child in model.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.0
    return [row | {"labels": own} for row, own in zip(examples, logits.tolist(), strict=True)]
