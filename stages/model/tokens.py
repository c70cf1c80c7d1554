"""From a task's rows to the arrays that a variant reads."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stages.dataset.task import Task
from stages.model.from_folder import from_folder
from stages.plumbing.command import UserError

if TYPE_CHECKING:
    import pandas as pd
    from transformers import PreTrainedTokenizerBase

# One sentence or pair: input name -> token ids, not padded.
Tokens = dict[str, list[int]]
# Input name -> int64 array of shape (batch, length), padded.
Batch = dict[str, np.ndarray]
# A loaded variant: a padded batch -> float32 logits of shape (batch, labels).
Predict = Callable[[Batch], np.ndarray]


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = from_folder(AutoTokenizer, folder)
    return tokenizer


class Encoding(Protocol):
    """How a model wants its texts; `Recipe` of stages/model/artifact.py is one."""

    @property
    def max_length(self) -> int: ...
    @property
    def inputs(self) -> list[str]: ...


def encode(
    tokenizer: "PreTrainedTokenizerBase", task: Task, rows: "pd.DataFrame", recipe: Encoding
) -> list[Tokens]:
    """Token ids of each row, cut to `recipe.max_length` tokens, in the order of `rows`.

    Each row holds just `recipe.inputs`, in that order: some tokenizers offer arrays that their
    model does not take (DistilBERT's token types).
    """
    texts = [rows[column].tolist() for column in task.text_columns]
    encoded = tokenizer(*texts, truncation=True, max_length=recipe.max_length)
    return [{name: encoded[name][i] for name in recipe.inputs} for i in range(len(rows))]


def pad(
    tokenizer: "PreTrainedTokenizerBase", tokens: list[Tokens], padding: str, max_length: int
) -> Batch:
    """One batch; `padding` is `longest` (of this batch) or `max_length`."""
    padded = tokenizer.pad(
        tokens, padding=padding, max_length=max_length, return_tensors="np", verbose=False
    )
    return {name: np.asarray(padded[name], dtype=np.int64) for name in tokens[0]}


def batches(
    tokenizer: "PreTrainedTokenizerBase",
    tokens: list[Tokens],
    batch_size: int,
    padding: str,
    max_length: int,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Positions in `tokens` and their padded batch, sorted by length so that little is padding."""
    order = np.argsort([len(row["input_ids"]) for row in tokens], kind="stable")
    for start in range(0, len(order), batch_size):
        positions = order[start : start + batch_size]
        yield positions, pad(tokenizer, [tokens[i] for i in positions], padding, max_length)


def unpadded(batch: Batch, variant: str) -> tuple[np.ndarray, Batch]:
    """Texts one behind the other: where each begins, and the end, int64 (texts + 1,); their arrays.

    Args:
        variant: that reads so, for the message.

    Raises:
        UserError: no text, an empty one, or one that is padded on its left.
    """
    mask = batch["attention_mask"] != 0
    if mask.size == 0:
        raise UserError(f"a batch of shape {mask.shape} holds no token; leave it out")
    if not mask[:, 0].all() or (mask[:, 1:] > mask[:, :-1]).any():
        raise UserError(f"a text is padded on its left or empty; {variant} reads from the left")
    starts = np.concatenate([[0], mask.sum(1).cumsum()])
    return starts, {name: array[mask] for name, array in batch.items()}


def batches_of(
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    rows: "pd.DataFrame",
    recipe: Encoding,
    batch_size: int,
    padding: str,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """What `batches` makes of a task's rows."""
    tokens = encode(tokenizer, task, rows, recipe)
    return batches(tokenizer, tokens, batch_size, padding, recipe.max_length)


def predict_all(
    predict: Predict, sorted_batches: Iterable[tuple[np.ndarray, Batch]], rows: int
) -> np.ndarray:
    """Logits of shape (rows, labels) in the original order of the rows that `batches` sorted."""
    parts = [(positions, predict(batch)) for positions, batch in sorted_batches]
    logits = np.empty((rows, parts[0][1].shape[1]), dtype=np.float32)
    for positions, values in parts:
        logits[positions] = values
    return logits
