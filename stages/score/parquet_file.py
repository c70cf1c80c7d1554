"""Parquet. Columns keep their types; rows are numbered from 1."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from stages.score.corpus_files import BUFFER, CorpusFile
from stages.score.rows import BLOCK_BYTES, Damaged, Fault, Rows, Span

BATCH = 1024  # rows that are decoded at once


@dataclass
class Parquet:
    """A `Reader`. Spans that follow each other are read in one go through the file."""

    file: CorpusFile
    opened: "Forward | None" = field(default=None, repr=False)

    @contextmanager
    def parquet(self) -> Iterator[ParquetFile]:
        """Raises Damaged also for what goes wrong while the file is open."""
        with damaged(), self.file.open() as file, ParquetFile(file) as parquet:
            yield parquet

    def schema(self) -> pa.Schema:
        with self.parquet() as parquet:
            return pa.schema([field.remove_metadata() for field in parquet.schema_arrow])

    def spans(self, most_rows: int) -> Iterator[Span]:
        with self.parquet() as parquet:
            facts = parquet.metadata
            groups = [facts.row_group(i) for i in range(facts.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        rows = facts.num_rows
        each = max(1, min(most_rows, BLOCK_BYTES * rows // max(size, 1)))
        for first in range(0, rows, each):
            yield Span(first + 1, min(each, rows - first))

    def read(self, span: Span, schema: pa.Schema) -> Rows:
        first = span.row - 1
        with damaged():
            if self.opened is None or not self.opened.can_reach(first, schema):
                self.close()
                self.opened = Forward(self.file, first, schema)
            table = self.opened.read(first, span.rows)
        # A dictionary's columns differ from batch to batch; and metadata of fields does not matter.
        table = pa.table(table.columns, schema)
        return without_damaged_text(table, span)

    def close(self) -> None:
        if self.opened is not None:
            self.opened.stack.close()
            self.opened = None


class Forward:
    """Some columns of an open file, from one row group on; a row is decoded once."""

    def __init__(self, file: CorpusFile, first: int, schema: pa.Schema) -> None:
        self.names = schema.names
        self.stack = ExitStack()
        # A buffer: else a whole row group, which may be the whole file, is in memory at once.
        parquet = self.stack.enter_context(
            ParquetFile(self.stack.enter_context(file.open()), buffer_size=BUFFER, pre_buffer=False)
        )
        ends, group = 0, 0
        for group in range(parquet.metadata.num_row_groups):
            ends += parquet.metadata.row_group(group).num_rows
            if first < ends:
                ends -= parquet.metadata.row_group(group).num_rows
                break
        groups = list(range(group, parquet.metadata.num_row_groups))
        self.position = ends
        self.batches = parquet.iter_batches(BATCH, groups, self.names, use_threads=False)
        self.batch: pa.RecordBatch | None = None

    def can_reach(self, first: int, schema: pa.Schema) -> bool:
        return first >= self.position and schema.names == self.names

    def read(self, first: int, rows: int) -> pa.Table:
        parts = []
        while rows:
            if self.batch is None or not self.batch.num_rows:
                self.batch = next(self.batches, None)
                if self.batch is None:
                    raise Damaged(f"it ends at row {self.position}, before its last one")
            skipped = min(first - self.position, self.batch.num_rows)
            taken = min(rows, self.batch.num_rows - skipped)
            parts.append(self.batch.slice(skipped, taken))
            self.batch = self.batch.slice(skipped + taken)
            self.position += skipped + taken
            first += taken
            rows -= taken
        return pa.Table.from_batches(parts).select(self.names)


@contextmanager
def damaged() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise Damaged(f"no Parquet file, or a damaged one ({reason}); write it anew") from None


def without_damaged_text(table: pa.Table, span: Span) -> Rows:
    """Parquet's text may be any bytes; rows in which it is none are faults."""
    bad: dict[int, str] = {}
    for name in table.column_names:
        if pa.types.is_string(table.field(name).type) or pa.types.is_large_string(
            table.field(name).type
        ):
            try:
                table.column(name).validate(full=True)
            except pa.ArrowInvalid:
                bad |= {i: name for i, each in enumerate(table.column(name)) if not is_text(each)}
    if not bad:
        return Rows(table, [])
    good = pa.array([i not in bad for i in range(table.num_rows)])
    faults = [Fault(span.row + i, f"'{name}' is not utf-8", "") for i, name in sorted(bad.items())]
    return Rows(table.filter(good), faults)


def is_text(value: Any) -> bool:
    try:
        value.as_py()
    except UnicodeDecodeError:
        return False
    return True
