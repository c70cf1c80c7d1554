"""The rows of one of the user's files: checked in a first pass, handed on in pieces in a second."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np

from stages.dataset.dataset import UNLABELLED
from stages.plumbing.command import UserError
from stages.sources.own_file.holdout import checksum
from stages.sources.own_file.labels import Classes, Scores
from stages.sources.own_file.table import Table

if TYPE_CHECKING:
    import pandas as pd

# In memory at a time, and a row group of what is stored.
PIECE_ROWS, PIECE_CHARACTERS = 20_000, 1 << 25


@dataclass(frozen=True)
class Scan:
    """What the first pass keeps: 16 bytes per row.

    Attributes:
        texts: shape (rows with text,), uint64, a checksum of each text or pair of texts.
        labels: same shape; a class's number (int), a score (float), or -1 where the file has none.
        empty: rows that were left out because a text is missing.
    """

    texts: np.ndarray
    labels: np.ndarray
    empty: int


@dataclass(frozen=True)
class OwnRows:
    """A file and which of its columns matter.

    Attributes:
        texts: one column or two.
        id: column, or "" for the row's number.
    """

    table: Table
    texts: list[str]
    label: str
    id: str

    @property
    def section(self) -> str:
        return self.table.dialect.section

    def scan(self, numbers: Classes | Scores) -> Scan:
        """Check every row.

        Raises:
            UserError: a damaged row, a label that `numbers` does not know or that is missing, or
                no row with a text.
        """
        is_test = self.table.role == "test"
        has_labels = not is_test or self.label in self.table.header()
        columns = [*self.texts, self.label] if has_labels else self.texts
        texts, labels = bytearray(), array("d")
        without_label: list[int] = []
        row = empty = 0
        for row, cells in self.table.rows(columns):
            of_row = cells[: len(self.texts)]
            if is_empty(of_row):
                empty += 1
                continue
            texts += checksum(of_row)
            cell = cells[-1] if has_labels else ""
            if not cell.strip():
                without_label.append(row)
                labels.append(UNLABELLED)
                continue
            try:
                labels.append(numbers[cell])
            except ValueError as error:
                raise UserError(f"{self.table.name} row {row}: {error}") from None
        if not row:
            raise UserError(f"{self.table.name} has no rows below its header; add some")
        if not labels:
            raise UserError(
                f"{self.table.name}: {' or '.join(map(repr, self.texts))} is empty in each of its "
                f"{empty} rows; name the column that holds the text"
            )
        if without_label and not (is_test and len(without_label) == len(labels)):
            raise UserError(
                f"{self.table.name} row {without_label[0]}: no '{self.label}' (one of "
                f"{len(without_label)} such rows); fill it in or remove the row"
            )
        kind = np.int64 if isinstance(numbers, Classes) else np.float64
        return Scan(np.frombuffer(texts, dtype="<u8"), np.array(labels, dtype=kind), empty)

    def usable(self) -> Iterator[tuple[str, ...]]:
        """Id and text, or pair of texts, of each row that `scan` kept."""
        columns = [*self.texts, self.id] if self.id else self.texts
        for row, cells in self.table.rows(columns):
            texts = cells[: len(self.texts)]
            if not is_empty(texts):
                yield (cells[-1] if self.id else str(row)), *texts


def is_empty(texts: list[str]) -> bool:
    return "" in map(str.strip, texts)


@dataclass(frozen=True)
class Part:
    """Some of a file's usable rows, as pieces of a split; can be gone through more than once.

    Attributes:
        labels: shape (usable rows,).
        chosen: same shape, bool.
    """

    rows: OwnRows
    labels: np.ndarray
    chosen: np.ndarray

    def __iter__(self) -> "Iterator[pd.DataFrame]":
        import pandas as pd

        labels = self.labels[self.chosen]
        chosen_rows = compress(self.rows.usable(), self.chosen.tobytes())
        done = 0
        while piece := list(some(chosen_rows)):
            columns = zip(("id", "text", "text_pair"), zip(*piece, strict=True), strict=False)
            yield pd.DataFrame({**dict(columns), "label": labels[done : done + len(piece)]})
            done += len(piece)


def some(rows: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """The next ones, fewer where they are long."""
    number = characters = 0
    while number < PIECE_ROWS and characters < PIECE_CHARACTERS:
        row = next(rows, None)
        if row is None:
            return
        yield row
        number += 1
        characters += sum(map(len, row))
