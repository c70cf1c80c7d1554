"""From a task's rows to the arrays that a variant reads."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np

from stages.dataset.dataset import Split
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

# What the tokenizer gets at a time: it makes 20 times their size of texts, before it cuts them.
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 1000, 1 << 20
# What is sorted by length at a time; a split that is larger is taken in windows.
WINDOW_ROWS, WINDOW_TOKENS = 1 << 17, 1 << 25


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


class Encoded(Sequence[Tokens]):
    """Token ids of many rows, not padded: each row is `Tokens`, all together take few bytes.

    Python's lists would take 80 bytes of a token that is stored in 4 here.
    """

    def __init__(self, inputs: list[str]) -> None:
        """Args:
        inputs: names of the arrays of each row, in the order of its keys.
        """
        self.inputs = inputs
        # Of each piece: its first row; where each of its rows starts, and the end; the arrays.
        self.first_rows: list[int] = []
        self.starts: list[np.ndarray] = []
        self.pieces: list[dict[str, np.ndarray]] = []
        self.rows = self.tokens = 0

    def add(self, encoded: Mapping[str, list[list[int]]]) -> None:
        """Rows behind those at hand, as a tokenizer gives them."""
        lengths = [len(ids) for ids in encoded["input_ids"]]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        piece = {}
        for name in self.inputs:
            if [len(row) for row in encoded[name]] != lengths:
                raise UserError(
                    f"the tokenizer gives '{name}' another length than 'input_ids'; take a model "
                    "whose tokens have one of each"
                )
            values = np.fromiter(chain.from_iterable(encoded[name]), np.int64, starts[-1])
            piece[name] = values.astype(np.min_scalar_type(values.max(initial=0)))
        self.first_rows.append(self.rows)
        self.starts.append(starts)
        self.pieces.append(piece)
        self.rows += len(lengths)
        self.tokens += int(starts[-1])

    def __len__(self) -> int:
        return self.rows

    @overload
    def __getitem__(self, at: int) -> Tokens: ...
    @overload
    def __getitem__(self, at: slice) -> list[Tokens]: ...
    def __getitem__(self, at: int | slice) -> Tokens | list[Tokens]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(self.rows))]
        row = range(self.rows)[at]
        number = bisect_right(self.first_rows, row) - 1
        start, end = self.starts[number][row - self.first_rows[number] :][:2]
        return {name: values[start:end].tolist() for name, values in self.pieces[number].items()}

    def taken(self, rows: np.ndarray) -> "Encoded":
        """Some of the rows, in the order of `rows`."""
        taken = Encoded(self.inputs)
        chosen = [self[row] for row in rows]
        taken.add({name: [row[name] for row in chosen] for name in self.inputs})
        return taken

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row."""
        return np.concatenate([np.zeros(0, np.int64), *map(np.diff, self.starts)])


def encode(
    tokenizer: "PreTrainedTokenizerBase", task: Task, rows: Split, recipe: Encoding
) -> Encoded:
    """Token ids of each row, cut to `recipe.max_length` tokens, in the order of `rows`.

    Each row holds just `recipe.inputs`, in that order: some tokenizers offer arrays that their
    model does not take (DistilBERT's token types).
    """
    import pandas as pd

    encoded = Encoded(recipe.inputs)
    for piece in [rows] if isinstance(rows, pd.DataFrame) else rows:
        encode_piece(tokenizer, task, piece, recipe, encoded)
    return encoded


def encode_piece(
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    rows: "pd.DataFrame",
    recipe: Encoding,
    encoded: Encoded,
) -> None:
    """Add `rows` to `encoded`; few of them, or short ones, at a time."""
    texts = [rows[column].tolist() for column in task.text_columns]
    for some in portions([sum(map(len, row)) for row in zip(*texts, strict=True)]):
        parts = (column[some] for column in texts)
        encoded.add(tokenizer(*parts, truncation=True, max_length=recipe.max_length))


def portions(characters: list[int]) -> Iterator[slice]:
    """Of rows with so many characters each, which of them the tokenizer gets at a time."""
    start = size = 0
    for end, more in enumerate(characters):
        if end > start and (end - start == TEXTS_AT_ONCE or size + more > CHARACTERS_AT_ONCE):
            yield slice(start, end)
            start, size = end, 0
        size += more
    if start < len(characters):
        yield slice(start, len(characters))


def windows(
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    pieces: "Iterable[pd.DataFrame]",
    recipe: Encoding,
) -> "Iterator[tuple[pd.DataFrame, Encoded]]":
    """A split in parts that are sorted by length on their own: what is kept of its rows, tokens.

    Most splits are one window, and so in memory as a whole, without their texts.
    """
    import pandas as pd

    rows, encoded = [], Encoded(recipe.inputs)
    for piece in pieces:
        encode_piece(tokenizer, task, piece, recipe, encoded)
        rows.append(piece.drop(columns=list(task.text_columns)))
        if len(encoded) >= WINDOW_ROWS or encoded.tokens >= WINDOW_TOKENS:
            yield pd.concat(rows, ignore_index=True), encoded
            rows, encoded = [], Encoded(recipe.inputs)
    if rows:
        yield pd.concat(rows, ignore_index=True), encoded


def pad(
    tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[Tokens], padding: str, max_length: int
) -> Batch:
    """One batch; `padding` is `longest` (of this batch) or `max_length`."""
    padded = tokenizer.pad(
        list(tokens), padding=padding, max_length=max_length, return_tensors="np", verbose=False
    )
    return {name: np.asarray(padded[name], dtype=np.int64) for name in tokens[0]}


def batches(
    tokenizer: "PreTrainedTokenizerBase",
    tokens: Encoded,
    batch_size: int,
    padding: str,
    max_length: int,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Positions in `tokens` and their padded batch, sorted by length so that little is padding."""
    order = np.argsort(tokens.lengths, kind="stable")
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
    logits = np.empty((0, 0), dtype=np.float32)
    for positions, batch in sorted_batches:
        values = predict(batch)
        if not logits.size:
            logits = np.empty((rows, values.shape[1]), dtype=np.float32)
        logits[positions] = values
    return logits
