"""What is read of a corpus: pieces of its files, and the rows of a piece, good and bad."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

# A block is done or it is not: the unit of resuming, of sorting by length, of what a worker gets.
# Its size goes by the corpus alone, so that whoever computes it computes the same.
BLOCK_ROWS, BLOCK_BYTES = 512, 1 << 20


class Span(NamedTuple):
    """Some rows of one file that follow each other.

    Attributes:
        row: number of the first one, as messages count.
        rows: how many, bad ones included.
        begin, end: bytes, of a file of lines.
    """

    row: int
    rows: int
    begin: int = 0
    end: int = 0


class Fault(NamedTuple):
    """A row that cannot be read.

    Attributes:
        content: what stands there, as far as it can be shown.
    """

    row: int
    reason: str
    content: str


class Rows(NamedTuple):
    """The good rows in their order, and the others."""

    table: pa.Table
    faults: list[Fault]


class Damaged(Exception):
    """The file cannot be read on; the message says what and where, without its name."""


class Reader(Protocol):
    """One file of a corpus."""

    def schema(self) -> pa.Schema:
        """The columns that it has. Raises Damaged."""
        ...

    def spans(self, most_rows: int) -> Iterator[Span]:
        """All of its rows, in their order. Raises Damaged."""
        ...

    def read(self, span: Span, schema: pa.Schema) -> Rows:
        """The columns of `schema`, which the file has. Raises Damaged."""
        ...


@dataclass
class Cut:
    """Where a file of lines is cut into spans: record by record, told how many bytes each has."""

    most_rows: int
    row: int
    begin: int
    rows: int = 0
    end: int = 0

    def spans(self, records: Iterator[tuple[bytes, bool]]) -> Iterator[Span]:
        """Of records and whether each is a row; blank lines have a number, but are none."""
        self.end, number = self.begin, self.row
        for raw, is_row in records:
            number += 1
            self.end += len(raw)
            self.rows += is_row
            if self.rows >= self.most_rows or (self.rows and self.end - self.begin >= BLOCK_BYTES):
                yield Span(self.row, self.rows, self.begin, self.end)
                self.row, self.begin, self.rows = number, self.end, 0
        if self.rows:
            yield Span(self.row, self.rows, self.begin, self.end)


def table_of(rows: list[list[Any]], schema: pa.Schema) -> pa.Table:
    """Rows of Python values as columns."""
    values: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([pa.array(*each) for each in zip(values, schema.types, strict=True)], schema)


def shown(raw: bytes) -> str:
    """Bytes as text, whatever they are."""
    return raw.decode("utf-8", "backslashreplace").rstrip("\r\n")


def fits_text(value: str) -> bool:
    """Half of a surrogate pair has no bytes: neither Parquet nor a tokenizer takes it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
