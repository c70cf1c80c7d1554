"""JSON lines. The first rows decide what type a column has; lists and objects stay JSON text."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from stages.score.corpus_files import CorpusFile
from stages.score.delimited import with_newlines
from stages.score.rows import Cut, Damaged, Fault, Rows, Span, as_json, fits_text, shown, table_of

SAMPLE = 2000  # rows that decide
# Of a column that holds several types, lists or objects.
JSON_TEXT = {"json": "true"}
INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class JsonLines:
    """A `Reader`.

    Attributes:
        chosen: whether columns were asked for by name; else a row may have no others.
    """

    file: CorpusFile
    chosen: bool

    def records(self, lines: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
        """A line each, and whether it is a row; a blank one is none."""
        return ((line, bool(line.strip())) for line in lines)

    def schema(self) -> pa.Schema:
        values: dict[str, list[Any]] = {}
        with self.file.lines(self.file.text_begin()) as lines:
            for line in islice(lines, SAMPLE):
                try:
                    found = parsed(line)
                except ValueError:
                    continue  # whoever reads the row says so
                for name, value in found.items():
                    values.setdefault(name, []).append(value)
        if not values:
            raise Damaged(f"none of its first {SAMPLE:,} lines is a JSON object with a key")
        return pa.schema([field_of(name, each) for name, each in values.items()])

    def spans(self, most_rows: int) -> Iterator[Span]:
        begin = self.file.text_begin()
        with self.file.lines(begin) as lines:
            yield from Cut(most_rows, 1, begin).spans(self.records(lines))

    def read(self, span: Span, schema: pa.Schema) -> Rows:
        good: list[list[Any]] = []
        faults = []
        lines = with_newlines(self.file.bytes(span.begin, span.end))
        for row, (raw, is_row) in enumerate(self.records(lines), span.row):
            if not is_row:
                continue
            try:
                good.append(self.cells(parsed(raw), schema))
            except ValueError as error:
                faults.append(Fault(row, str(error), shown(raw)))
        return Rows(table_of(good, schema), faults)

    def cells(self, found: dict[str, Any], schema: pa.Schema) -> list[Any]:
        """Raises ValueError: a value is not of its column's type, or there are other columns."""
        if not self.chosen and (other := found.keys() - set(schema.names)):
            raise ValueError(
                f"key '{min(other)}', which none of the first {SAMPLE:,} rows has; say with "
                "--columns which to keep"
            )
        return [cell(field, found.get(field.name)) for field in schema]


def parsed(line: bytes) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        found = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte 0x{line[error.start]:02X} is not utf-8") from None
    except RecursionError:
        raise ValueError("too deeply nested") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at character {error.pos + 1}") from None
    if not isinstance(found, dict):
        raise ValueError(f"no JSON object, but {as_json(found)[:40]}; each line must be one")
    return found


def field_of(name: str, values: list[Any]) -> pa.Field:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return pa.field(name, pa.string())
    if kinds == {bool}:
        return pa.field(name, pa.bool_())
    if kinds == {int}:
        return pa.field(name, pa.int64())
    if kinds <= {int, float}:
        return pa.field(name, pa.float64())
    return pa.field(name, pa.string(), metadata=JSON_TEXT)


def cell(field: pa.Field, value: Any) -> Any:
    """Raises ValueError."""
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if field.metadata:
        value = as_json(value)
    if pa.types.is_string(field.type) and isinstance(value, str):
        if not fits_text(value):
            raise ValueError(f"'{field.name}' holds half of a surrogate pair, no character")
        return value
    if pa.types.is_boolean(field.type) and isinstance(value, bool):
        return value
    if pa.types.is_integer(field.type) and number and value in INT64:
        return int(value)
    if pa.types.is_floating(field.type) and number:
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError(
        f"'{field.name}' is {as_json(value)[:40]}, but {field.type} in the first rows of the file"
    )
