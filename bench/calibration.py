"""Training rows for peers that learn the scales of activations before they quantize."""

from pathlib import Path

import pandas as pd

from bench.ours import TASK, TRAIN
from stages.dataset.task import Task
from stages.model.artifact import read_recipe
from stages.model.tokens import Batch, encode, load_tokenizer, pad


def training_batches(checkpoint: Path, rows: int) -> list[Batch]:
    """So many training rows, drawn at random but always the same, each alone and unpadded."""
    task = Task.model_validate_json((checkpoint / TASK).read_text(encoding="utf-8"))
    recipe, tokenizer = read_recipe(checkpoint), load_tokenizer(checkpoint)
    train = pd.read_parquet(checkpoint / TRAIN)
    drawn = train.sample(min(rows, len(train)), random_state=0)
    encoded = encode(tokenizer, task, drawn, recipe)
    return [pad(tokenizer, [row], "longest", recipe.max_length) for row in encoded]
