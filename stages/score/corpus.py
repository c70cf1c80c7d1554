"""A corpus: files of one kind with the same columns, cut into blocks that never change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from stages.plumbing.command import UserError, nearest
from stages.score.corpus_files import CSV, JSON_LINES, CorpusFile
from stages.score.delimited import Delimited, Dialect
from stages.score.json_lines import JsonLines
from stages.score.parquet_file import Parquet
from stages.score.rows import Damaged, Reader, Span


class Block(NamedTuple):
    """One span of one of the files."""

    number: int
    file: int
    span: Span


@dataclass(frozen=True)
class Corpus:
    """Attributes:
    schema: of all columns that are read.
    texts: the columns that are scored.
    kept: the columns that come out again.
    chosen: whether these were asked for by name.
    """

    files: tuple[CorpusFile, ...]
    dialect: Dialect
    schema: pa.Schema
    texts: tuple[str, ...]
    kept: tuple[str, ...]
    chosen: bool

    def reader(self, file: int) -> Reader:
        return reader_of(self.files[file], self.dialect, self.chosen)

    def blocks(self, most_rows: int) -> Iterator[Block]:
        """Raises UserError: a file is damaged, as far as that can be seen without its rows."""
        number = 0
        for i, file in enumerate(self.files):
            try:
                for span in self.reader(i).spans(most_rows):
                    yield Block(number, i, span)
                    number += 1
            except Damaged as error:
                raise UserError(f"{file.name}: {error}") from None


def reader_of(file: CorpusFile, dialect: Dialect, chosen: bool) -> Reader:
    if file.kind == CSV:
        return Delimited(file, dialect)
    return JsonLines(file, chosen) if file.kind == JSON_LINES else Parquet(file)


def corpus_of(
    files: Sequence[CorpusFile],
    texts: Sequence[str],
    columns: Sequence[str] | None,
    dialect: Dialect,
) -> Corpus:
    """Look at the columns of every file.

    Args:
        texts: columns that hold them.
        columns: those to keep; None: all.

    Raises:
        UserError: a column is missing, there twice, of another type than in the first file, or one
            of texts is none.
    """
    first: dict[str, pa.Field] = {}
    kept: tuple[str, ...] = ()
    for file in files:
        try:
            schema = reader_of(file, dialect, columns is not None).schema()
        except Damaged as error:
            raise UserError(f"{file.name}: {error}") from None
        names = schema.names
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"{file.name} has two columns '{twice}'; rename one")
        if not first:
            kept = tuple(names if columns is None else columns)
        needed = dict.fromkeys((*kept, *texts))
        # Of JSON lines the first rows of the first file decide; all other rows are held to them.
        by_row = file.kind == JSON_LINES and bool(first)
        for name in texts if by_row else needed:
            if name not in names:
                way = "--text" if name in texts else "--columns"
                raise UserError(
                    f"{file.name} has no column '{name}'; name another with {way}: "
                    f"{nearest(name, names)}"
                )
        if by_row:
            continue
        if columns is None and (other := set(names) - set(needed)):
            raise UserError(
                f"{file.name} has a column '{min(other)}', which {files[0].name} has not; say with "
                "--columns which to keep"
            )
        for name in needed:
            field = schema.field(name)
            if first.setdefault(name, field).type != field.type:
                raise UserError(
                    f"{file.name}: '{name}' is {field.type}, but {first[name].type} in "
                    f"{files[0].name}; write one of them anew, or leave it out with --columns"
                )
    for name in texts:
        if not is_text(first[name].type) or first[name].metadata:
            raise UserError(
                f"{files[0].name}: '{name}' is {first[name].type}, not text; name another with "
                "--text"
            )
    return Corpus(
        tuple(files),
        dialect,
        pa.schema(list(first.values())),
        tuple(texts),
        kept,
        columns is not None,
    )


def is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def texts_of(table: pa.Table, columns: Sequence[str]) -> list[tuple[str | None, ...]]:
    """The text or pair of texts of each row."""
    found = [table.column(name).cast(pa.large_string()).to_pylist() for name in columns]
    return list(zip(*found, strict=True))
