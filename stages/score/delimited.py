"""CSV and TSV. All columns are text, as it stands there: `007` stays what it is."""

import csv
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import pyarrow as pa

from stages.score.corpus_files import CorpusFile
from stages.score.rows import Cut, Damaged, Fault, Rows, Span, fits_text, shown, table_of
from stages.sources.own_file.delimited import DELIMITERS, LONGEST_FIELD

HEADER_ROW = 1  # numbers are those of a spreadsheet


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        delimiter: "" goes by the ending of the file's name.
        quote: "" takes quotes for ordinary characters.
    """

    encoding: str = "utf-8"
    delimiter: str = ""
    quote: str = '"'


@dataclass(frozen=True)
class Delimited:
    """A `Reader`."""

    file: CorpusFile
    dialect: Dialect

    def parse(self, lines: Iterable[str]) -> list[str]:
        """The cells of the first record. Raises csv.Error."""
        csv.field_size_limit(LONGEST_FIELD)
        reader = csv.reader(
            lines,
            delimiter=self.dialect.delimiter or DELIMITERS[self.file.ending],
            quotechar=self.dialect.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.dialect.quote else csv.QUOTE_NONE,
            strict=True,
        )
        return next(reader)

    def records(self, lines: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
        """The bytes of each record, and whether it is a row; a blank line is none.

        A record that is damaged ends where the parser gave up; the next line begins another.
        """
        quote = self.dialect.quote.encode()
        for line in lines:
            taken = [line]
            if quote and quote in line:

                def more(taken: list[bytes] = taken) -> Iterator[bytes]:
                    for following in lines:
                        taken.append(following)
                        yield following

                # As Latin-1, which takes any bytes: only the ASCII characters matter here. What is
                # wrong with a row says whoever reads it.
                with suppress(csv.Error):
                    self.parse(each.decode("latin-1") for each in chain([line], more()))
            raw = b"".join(taken)
            yield raw, bool(raw.strip())

    @cached_property
    def header(self) -> tuple[list[str], int]:
        """The names of the columns, and the bytes of their record."""
        begin = self.file.text_begin()
        with self.file.lines(begin) as lines:
            for raw, is_row in self.records(lines):
                if not is_row:
                    raise Damaged("its first row is blank; it must name the columns")
                try:
                    names = self.parse([raw.decode(self.dialect.encoding)])
                except UnicodeDecodeError as error:
                    raise Damaged(f"row 1 is not {self.dialect.encoding} ({error})") from None
                except csv.Error as error:
                    raise Damaged(f"row 1: {error}") from None
                return names, begin + len(raw)
        raise Damaged("it is empty; its first row must name the columns")

    def schema(self) -> pa.Schema:
        names, _ = self.header
        return pa.schema([(name, pa.string()) for name in names])

    def spans(self, most_rows: int) -> Iterator[Span]:
        _, begin = self.header
        with self.file.lines(begin) as lines:
            cut = Cut(most_rows, HEADER_ROW + 1, begin)
            yield from cut.spans(self.records(lines))

    def read(self, span: Span, schema: pa.Schema) -> Rows:
        names, _ = self.header
        places = [names.index(name) for name in schema.names]
        good: list[list[str]] = []
        faults = []
        data = self.file.bytes(span.begin, span.end)
        lines = iter(data.splitlines(keepends=True)) if b"\r" not in data else with_newlines(data)
        for row, (raw, is_row) in enumerate(self.records(lines), span.row):
            if not is_row:
                continue
            try:
                cells = self.cells(raw, len(names))
                good.append([cells[place] for place in places])
            except ValueError as error:
                faults.append(Fault(row, str(error), shown(raw)))
        return Rows(table_of(good, schema), faults)

    def cells(self, raw: bytes, width: int) -> list[str]:
        """Raises ValueError: they cannot be told, or there are not `width` of them."""
        try:
            text = raw.decode(self.dialect.encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"byte 0x{raw[error.start]:02X} is not {self.dialect.encoding}; say what the file "
                "was saved in with --encoding"
            ) from None
        try:
            cells = self.parse([text])
        except csv.Error as error:
            raise ValueError(
                f"{error}; a quote is not closed or not doubled in it: correct it, or say --quote "
                "none if quotes are ordinary characters in this file"
            ) from None
        if len(cells) != width:
            raise ValueError(
                f"{len(cells)} cells instead of {width}; put quotes around cells that hold the "
                "delimiter, or say --quote none if quotes are ordinary characters in this file"
            )
        if not fits_text(text):
            raise ValueError("half of a surrogate pair, which is no character")
        return cells


def with_newlines(data: bytes) -> Iterator[bytes]:
    """Lines that end in a newline alone, as those of a file do: bytes.splitlines knows others."""
    begin = 0
    while begin < len(data):
        end = data.find(b"\n", begin) + 1 or len(data)
        yield data[begin:end]
        begin = end
