"""What quantization-aware training learns: the labels, or fp32's own logits."""

from typing import Any, Literal

from torch import nn

from stages.dataset import stored
from stages.model.artifact import read_recipe
from stages.model.classifier import predictor
from stages.model.ingredients import Ingredients
from stages.model.tokens import batches, encode, load_tokenizer, predict_all
from stages.training.loop import Examples

Target = Literal["fp32_logits", "labels"]
BATCH_SIZE = 32


def examples_to_learn(ingredients: Ingredients, model: nn.Module, target: Target) -> Examples:
    """The training rows with their labels, or with the logits that `model` gives them.

    To learn logits, `model` gets mean squared error as its loss and loses its dropout, without
    which they were computed.
    """
    recipe, tokenizer = read_recipe(ingredients.checkpoint), load_tokenizer(ingredients.checkpoint)
    task, train = ingredients.task, ingredients.train
    tokens = encode(tokenizer, task, stored.pieces(train, task.text_columns), recipe)
    if target == "labels":
        return Examples(tokens, stored.labels(train))
    padded = batches(tokenizer, tokens, BATCH_SIZE, "longest", recipe.max_length)
    logits = predict_all(predictor(model), padded, len(tokens))
    config: Any = model.config
    config.problem_type = "regression"  # mean squared error over all logits
    for child in model.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.0
    return Examples(tokens, logits)
