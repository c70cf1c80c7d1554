"""Which column of a file holds the text and which the label: by what stands in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from stages.plumbing.command import UserError
from stages.sources.own_file.labels import MOST_CLASSES
from stages.sources.own_file.table import Table

SAMPLE = 2000  # rows
# Shorter ones are names and codes; more alike ones are classes.
LEAST_CHARACTERS, LEAST_DIFFERENT = 12, 0.5
# A class has several rows.
ROWS_PER_CLASS = 5
TEXTS = ("text", "sentence", "review", "content", "comment", "document", "body", "message", "tweet")
LABELS = ("label", "labels", "class", "category", "target", "sentiment", "stars", "rating", "score")
PAIRS = (
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)


@dataclass(frozen=True)
class Columns:
    """`pair` is empty where a row is one text."""

    text: str
    pair: str
    label: str


def find(table: Table, asked: Columns, regression: bool) -> Columns:
    """What was not asked for, found.

    Raises:
        UserError: no column or several might be meant; names them, and how to say which.
    """
    names = table.header()
    rows = [cells for _, cells in islice(table.rows(names), SAMPLE)]
    if not rows:
        raise UserError(f"{table.name} has no rows; add some")
    cells_of = dict(zip(names, zip(*rows, strict=True), strict=True))
    for word, name in (("TEXT", asked.text), ("PAIR", asked.pair), ("LABEL", asked.label)):
        if name and name not in names:
            raise UserError(f"{word}={name} is no column of {table.name}; {table.remedy(name)}")
    said = [name for name in (asked.text, asked.pair, asked.label) if name]
    if len(set(said)) < len(said):
        raise UserError(f"TEXT, PAIR and LABEL name one column twice ({', '.join(said)}); name two")
    taken = {asked.text, asked.pair, asked.label}
    free = {name: cells for name, cells in cells_of.items() if name not in taken}
    label = asked.label or one_of(
        [name for name, cells in free.items() if may_be_label(cells, regression)],
        LABELS,
        "LABEL",
        table,
    )
    texts = [name for name, cells in free.items() if name != label and may_be_text(cells)]
    if not asked.text and not asked.pair:
        for first, second in PAIRS:
            if first in texts and second in texts:
                return Columns(first, second, label)
    return Columns(asked.text or one_of(texts, TEXTS, "TEXT", table), asked.pair, label)


def one_of(found: Sequence[str], usual: Sequence[str], word: str, table: Table) -> str:
    """The only one, or the only one of a usual name."""
    called_so = [name for name in found if name.lower() in usual]
    for names in (found, called_so):
        if len(names) == 1:
            return names[0]
    kind = {"TEXT": "text", "LABEL": "label"}[word]
    if not found:
        raise UserError(
            f"no column of {table.name} looks like the {kind} ({', '.join(table.header())}); say "
            f"{word}=<column>"
        )
    raise UserError(
        f"{len(found)} columns of {table.name} may be the {kind}; say "
        f"{' or '.join(f'{word}={name}' for name in found)}"
    )


def may_be_text(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell.strip()]
    if not given or all(is_number(cell) for cell in given):
        return False
    long_enough = sum(map(len, given)) / len(given) >= LEAST_CHARACTERS
    return long_enough and len(set(given)) >= LEAST_DIFFERENT * len(given)


def may_be_label(cells: Sequence[str], regression: bool) -> bool:
    values = set(cells)
    if regression:
        return len(values) > 1 and all(is_number(cell) for cell in cells)
    most = min(MOST_CLASSES, max(2, len(cells) // ROWS_PER_CLASS))
    return 1 < len(values) <= most and "" not in {cell.strip() for cell in cells}


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def has_no_names(table: Table) -> bool:
    """Whether the first row reads like the others: a value of a class, or a long text."""
    first = table.header()
    rows = [cells for _, cells in islice(table.rows(first), SAMPLE)] if unique(first) else []
    if not rows:
        return not unique(first)
    for cell, *others in zip(first, *rows, strict=True):
        if (may_be_label(others, regression=False) and cell in others) or is_number(cell):
            return True
    return False


def unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)
