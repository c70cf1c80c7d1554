"""CSV and TSV, row by row. Whatever is wrong with a file is named by its place in it.

The csv module reads them, not pandas: pandas fills up rows that are too short, shifts the cells of
those that are too long, and knows no row numbers. It is no faster.
"""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stages.plumbing.command import UserError

ONE_CHARACTER = re.compile(r"[^\w\r\n\0]")  # that separates or quotes: no letter, no digit
DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONGEST_FIELD = 10_000_000  # characters: a quote that is never closed must not fill the memory


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        delimiter: "" goes by the ending of the file's name.
        quote: "" takes quotes for ordinary characters.
        section: where this stands in params.yaml, for the remedies; empty where it is not there yet
            but asked for in capitals, as in `make check ... ENCODING=gbk`.
    """

    encoding: str
    delimiter: str
    quote: str
    section: str

    def key(self, name: str) -> str:
        """How a user writes that setting."""
        return f"{self.section}.{name}: " if self.section else f"{name.upper()}="

    def check(self) -> None:
        """Raises UserError for what no file is written in; that of params.yaml is checked there."""
        quote = partial(another_than, self.delimiter)
        for name, given, rule in (
            ("encoding", self.encoding, known_encoding),
            ("delimiter", self.delimiter, one_character),
            ("quote", self.quote, one_character),
            ("quote", self.quote, quote),
        ):
            try:
                rule(given)
            except ValueError as error:
                raise UserError(f"{self.key(name)}{given}: {error}") from None


def known_encoding(name: str) -> str:
    """Raises ValueError, as Python's codecs know none of this name that texts are written in."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError(
            "no such encoding; take utf-8, gbk, gb18030, cp1252, latin-1 or utf-16"
        ) from None
    return name


def one_character(mark: str) -> str:
    """Raises ValueError for what can neither separate cells nor quote them."""
    if mark and not ONE_CHARACTER.fullmatch(mark):
        raise ValueError("take one character that is no letter, digit or end of a line")
    return mark


def another_than(delimiter: str, quote: str) -> str:
    """Raises ValueError where one character would do both."""
    if quote and quote in ([delimiter] if delimiter else DELIMITERS.values()):
        raise ValueError("it separates the cells too; name another one of the two")
    return quote


def check_text(path: Path, dialect: Dialect) -> None:
    """Raises UserError for bytes that are none of the encoding, and for a NUL character."""
    lines = 1
    try:
        with path.open(encoding=encoding_of(dialect), newline="") as file:
            while text := file.read(1 << 20):
                if "\0" in text:
                    lines += text[: text.index("\0")].count("\n")
                    raise UserError(
                        f"{path.name} line {lines} holds a NUL character; the file is damaged, or "
                        "no text at all: save it anew as 'CSV UTF-8'"
                    )
                lines += text.count("\n")
    except UnicodeError:
        raise UserError(undecodable(path, dialect)) from None


def records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The header, then every row; each with its number as a spreadsheet shows it.

    The header is row 1. Blank lines count but are left out.

    Raises:
        UserError: a quote is not closed, or a row has more or fewer cells than the header.
    """
    csv.field_size_limit(LONGEST_FIELD)
    row = width = 0
    with path.open(encoding=encoding_of(dialect), newline="") as file:
        reader = csv.reader(
            file,
            delimiter=dialect.delimiter or DELIMITERS[path.suffix.lower()],
            quotechar=dialect.quote or None,
            quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
            strict=True,
        )
        try:
            for row, cells in enumerate(reader, start=1):
                if not cells or (len(cells) == 1 and not cells[0].strip()):
                    continue
                width = width or len(cells)
                if len(cells) != width:
                    raise UserError(
                        f"{path.name} row {row} (ending in line {reader.line_num}) has "
                        f"{len(cells)} cells instead of {width}; put quotes around cells that hold "
                        f"the delimiter, {quotes_remedy(dialect)}"
                    )
                yield row, cells
        except csv.Error as error:
            raise UserError(
                f"{path.name} row {row + 1} (up to line {reader.line_num}): {error}; a quote is "
                f"not closed or not doubled in it: correct it, {quotes_remedy(dialect)}"
            ) from None


def quotes_remedy(dialect: Dialect) -> str:
    if not dialect.quote:
        return f"and say so with {dialect.key('quote')}'\"'"
    return f'or set {dialect.key("quote")}"" if quotes are ordinary characters in this file'


def encoding_of(dialect: Dialect) -> str:
    """A byte-order mark is no part of the first column's name."""
    name = codecs.lookup(dialect.encoding).name
    return "utf-8-sig" if name == "utf-8" else name


def undecodable(path: Path, dialect: Dialect) -> str:
    """Says which byte is none of the encoding; the reader only knows its place in a buffer."""
    offset, place = 0, "the file is cut off, or"
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode(dialect.encoding)
            except UnicodeDecodeError as error:
                byte = offset + error.start
                place = f"byte 0x{line[error.start]:02X} at {byte} (line {number});"
                break
            offset += len(line)
    return (
        f"{path.name} is not {dialect.encoding}: {place} set what it was saved "
        f"in, as in {dialect.key('encoding')}gbk (Excel in Chinese), cp1252 (Excel in Western "
        "Europe) or utf-16, or save it anew as 'CSV UTF-8'"
    )
