"""How far a variant's answers are from those of the model that it was made of."""

from typing import NamedTuple

import pandas as pd

from stages.dataset import stored
from stages.measure.accuracy import answers, relative_distance
from stages.model.artifact import read_recipe
from stages.model.classifier import load_checkpoint, predictor
from stages.model.ingredients import Ingredients
from stages.model.tokens import Predict, batches_of, load_tokenizer, predict_all

ROWS, SEED = 32, 0


class Nearness(NamedTuple):
    """On a few training rows.

    Attributes:
        distance: mean absolute difference of the logits in parts of fp32's mean absolute logit.
            0.02 to 0.05 is what sound int8 has; models of base size, whose activations have
            outliers, reach 0.9 with one scale per tensor, and still give most of their answers.
        other_answers_pct: of the rows; 0 of a regression.
    """

    distance: float
    other_answers_pct: float


def nearness_to_fp32(predict: Predict, ingredients: Ingredients) -> Nearness:
    checkpoint, task = ingredients.checkpoint, ingredients.task
    recipe, tokenizer = read_recipe(checkpoint), load_tokenizer(checkpoint)
    all_rows = pd.Series(range(stored.count(ingredients.train)))
    chosen = all_rows.sample(min(ROWS, len(all_rows)), random_state=SEED).to_numpy()
    rows = stored.rows_at(ingredients.train, chosen, task.text_columns)
    both = [
        predict_all(one, batches_of(tokenizer, task, rows, recipe, ROWS, "longest"), len(rows))
        for one in (predict, predictor(load_checkpoint(checkpoint)))
    ]
    distance = relative_distance(*both)
    if task.regression:
        return Nearness(distance, 0.0)
    return Nearness(distance, 100 * float((answers(both[0]) != answers(both[1])).mean()))
