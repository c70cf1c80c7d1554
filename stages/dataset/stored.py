"""A split as stage download_glue stored it, data/<task>/<split>.parquet, read in pieces.

A million long texts are larger than the memory: whoever reads them takes a piece at a time and
keeps what it made of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pyarrow.parquet import ParquetFile

if TYPE_CHECKING:
    import pandas as pd

# Of a piece; the bytes are an estimate.
PIECE_ROWS, PIECE_BYTES = 2000, 1 << 24


def opened(file: Path) -> AbstractContextManager[ParquetFile]:
    """With a buffer: else a whole row group, which may be the whole file, is in memory at once."""
    parquet: AbstractContextManager[ParquetFile] = ParquetFile(
        file, buffer_size=1 << 20, pre_buffer=False
    )
    return parquet


def rows_at_once(parquet: ParquetFile) -> int:
    """So many that a piece stays small, however long its texts are."""
    facts = parquet.metadata
    groups = [facts.row_group(i) for i in range(facts.num_row_groups)]
    longest = max((g.total_byte_size / max(1, g.num_rows) for g in groups), default=1)
    return int(min(PIECE_ROWS, max(1, PIECE_BYTES // max(1, longest))))


def count(file: Path) -> int:
    with opened(file) as parquet:
        rows: int = parquet.metadata.num_rows
    return rows


def pieces(
    file: Path, columns: Iterable[str] | None = None, most: int | None = None
) -> "Iterator[pd.DataFrame]":
    """The rows in their order.

    Args:
        columns: all, if it is None.
        most: the first so many rows; all, if it is None.
    """
    with opened(file) as parquet:
        left = parquet.metadata.num_rows if most is None else most
        chosen = None if columns is None else list(columns)
        for batch in parquet.iter_batches(rows_at_once(parquet), columns=chosen):
            piece: pd.DataFrame = batch.slice(0, left).to_pandas().reset_index(drop=True)
            left -= len(piece)
            yield piece
            if not left:
                return


def first_rows(file: Path, rows: int, columns: Iterable[str] | None = None) -> "pd.DataFrame":
    """So many, or all of them if there are fewer."""
    import pandas as pd

    return pd.concat(pieces(file, columns, rows), ignore_index=True)


def rows_at(
    file: Path, positions: np.ndarray, columns: Iterable[str] | None = None
) -> "pd.DataFrame":
    """The rows at these places, in the order of `positions`."""
    import pandas as pd

    wanted, start = np.unique(positions), 0
    chosen = None if columns is None else list(columns)
    found = [first_rows(file, 1, chosen).iloc[:0]]
    for piece in pieces(file, chosen, int(wanted[-1]) + 1 if len(wanted) else 0):
        first, end = np.searchsorted(wanted, [start, start + len(piece)])
        found.append(piece.iloc[wanted[first:end] - start])
        start += len(piece)
    rows = pd.concat(found, ignore_index=True)
    return rows.iloc[np.searchsorted(wanted, positions)].reset_index(drop=True)


def labels(file: Path) -> np.ndarray:
    """Shape (rows,): int64, or float64 of a regression."""
    return np.concatenate([piece["label"].to_numpy() for piece in pieces(file, ["label"])])


@dataclass(frozen=True)
class Texts:
    """Every text of a split, row by row; can be gone through more than once."""

    file: Path
    columns: Sequence[str]

    def __iter__(self) -> Iterator[str]:
        for piece in pieces(self.file, self.columns):
            yield from piece[list(self.columns)].to_numpy().ravel().tolist()
