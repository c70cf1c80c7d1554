"""How far a variant's answers are from those of the model that it was made of."""

import pandas as pd

from stages.measure.accuracy import relative_distance
from stages.model.artifact import read_recipe
from stages.model.classifier import load_checkpoint, predictor
from stages.model.ingredients import Ingredients
from stages.model.tokens import Predict, batches_of, load_tokenizer, predict_all

ROWS, SEED = 16, 0


def distance_from_fp32(predict: Predict, ingredients: Ingredients) -> float:
    """Mean absolute difference of the logits in parts of fp32's mean absolute logit.

    On a few training rows. 0.02 to 0.05 is what sound int8 has; of what gives other answers it is
    half a logit and more.
    """
    checkpoint, task = ingredients.checkpoint, ingredients.task
    recipe, tokenizer = read_recipe(checkpoint), load_tokenizer(checkpoint)
    rows = pd.read_parquet(ingredients.train, columns=list(task.text_columns))
    rows = rows.sample(min(ROWS, len(rows)), random_state=SEED)
    both = [
        predict_all(one, batches_of(tokenizer, task, rows, recipe, ROWS, "longest"), len(rows))
        for one in (predict, predictor(load_checkpoint(checkpoint)))
    ]
    return relative_distance(*both)
