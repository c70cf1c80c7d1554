"""One file of the user's: CSV, TSV or Parquet, of any size, read row by row as text."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from stages.dataset.stored import opened, rows_at_once
from stages.plumbing.command import UserError, nearest
from stages.plumbing.paths import of_user
from stages.sources.own_file.delimited import DELIMITERS, Dialect, check_text, records

PARQUET = ".parquet"


@dataclass(frozen=True)
class Table:
    """A file in one role.

    Attributes:
        named: the path as it stands in params.yaml; ~ and $VARIABLES are expanded.
        role: train, validation or test.
        dialect: of a CSV or TSV.
        columns: their names, where no first row has them.
    """

    named: str
    role: str
    dialect: Dialect
    columns: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return of_user(self.named)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_parquet(self) -> bool:
        return self.path.suffix.lower() == PARQUET

    def check(self) -> None:
        """Raises UserError if there is no such file, or none of a known kind and encoding."""
        where = f"{self.dialect.key(self.role)}'{self.named}'"
        if "$" in str(self.path):
            raise UserError(f"{where}, which names an environment variable that is not set")
        if not self.path.is_file():
            fault = "is a folder" if self.path.is_dir() else "does not exist"
            raise UserError(
                f"{where}, but {self.path.absolute()} {fault}; correct it in params.yaml (a "
                "relative path starts at the folder that holds params.yaml)"
            )
        if self.path.suffix.lower() not in (*DELIMITERS, PARQUET):
            raise UserError(
                f"{where}, which ends in neither .csv, .tsv nor .parquet; save it as one of these "
                "(a spreadsheet as 'CSV UTF-8')"
            )
        if not os.access(self.path, os.R_OK):
            raise UserError(f"{where}, which you may not read; change the file's permissions")
        if not self.is_parquet:
            check_text(self.path, self.dialect)

    def header(self) -> list[str]:
        """The names of the columns.

        Raises:
            UserError: there are none, or the file is no Parquet.
        """
        if self.is_parquet:
            with self.parquet() as file:
                return list(file.schema_arrow.names)
        for _, cells in records(self.path, self.dialect):
            if self.columns and len(cells) != len(self.columns):
                raise UserError(
                    f"{self.name} has {len(cells)} cells in a row, but {len(self.columns)} "
                    f"columns are named; {self.dialect.key('columns')}a name for each"
                )
            return list(self.columns) or cells
        raise UserError(f"{self.name} is empty; its first row must name the columns")

    def rows(self, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
        """Each row's number and its cells of `columns`; "" where a cell is empty.

        Numbers are those of a spreadsheet: a CSV's header, if it has one, is row 1.

        Raises:
            UserError: a column is missing or there twice, or something in the file is damaged.
        """
        header = self.header()
        for column in columns:
            if column not in header:
                raise UserError(f"{self.name} has no column '{column}'; {self.remedy(column)}")
            if header.count(column) > 1:
                raise UserError(
                    f"{self.name} has {header.count(column)} columns named '{column}'; rename or "
                    "remove all but one"
                )
        if self.is_parquet:
            yield from self.parquet_rows(columns)
            return
        places = [header.index(column) for column in columns]
        after_the_header = records(self.path, self.dialect)
        if not self.columns:
            next(after_the_header)
        for row, cells in after_the_header:
            yield row, [cells[place] for place in places]

    def remedy(self, column: str) -> str:
        header = self.header()
        other = next((each for each in ";\t|," if each in header[0]), "")
        if len(header) == 1 and other and not self.is_parquet:
            character = json.dumps(other)
            return (
                f"its header is one single cell, {header[0][:60]!r}; if {character} separates the "
                f"columns, set {self.dialect.key('delimiter')}{character}"
            )
        names = [name if len(name) <= 40 else f"{name[:40]}..." for name in header]
        first_row = (
            " (its first row must name the columns; if it has none, name them: "
            f"{self.dialect.key('columns')}[text, label])"
        )
        return nearest(column, names) + ("" if self.is_parquet or self.columns else first_row)

    @contextmanager
    def parquet(self) -> Iterator[ParquetFile]:
        """Raises UserError also for what goes wrong while the file is open."""
        try:
            with opened(self.path) as file:
                yield file
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{self.name} is no Parquet file, or a damaged one ({reason}); write it anew, or "
                "give it the ending of what it is"
            ) from None

    def parquet_rows(self, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
        with self.parquet() as file:
            rows = (
                list(cells)
                for batch in file.iter_batches(rows_at_once(file), columns=columns)
                for cells in zip(*(self.as_text(batch, name) for name in columns), strict=True)
            )
            yield from enumerate(rows, start=1)

    def as_text(self, batch: pa.RecordBatch, name: str) -> list[str]:
        """1.0 gives "1", true "true", nothing and NaN ""."""
        column = batch.column(name)
        try:
            if pa.types.is_floating(column.type):
                column = pc.if_else(pc.is_nan(column), None, column)
            text = column.cast(pa.string())
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            why = "" if isinstance(error, pa.ArrowNotImplementedError) else " that are no UTF-8"
            raise UserError(
                f"{self.name}: column '{name}' holds {column.type}{why}, not text or numbers; name "
                "another column, or write it anew as text"
            ) from None
        return [cell or "" for cell in text.to_pylist()]
