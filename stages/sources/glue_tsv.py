"""GLUE's tab-separated files, as its download script (download_glue_data.py) leaves them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stages.dataset.dataset import UNLABELLED
from stages.dataset.task import Task
from stages.plumbing.command import UserError
from stages.sources import Unavailable

if TYPE_CHECKING:
    import pandas as pd

SCORES = (0.0, 5.0)  # of STS-B, the only regression


@dataclass(frozen=True)
class Layout:
    """How one task's files look.

    Attributes:
        files: our split name -> file name. A split called test may lack labels.
        headers: our column -> theirs, where they differ.
        without_header: file name -> its columns, where the file starts with the first row.
        id_headers: columns that name a row; without any, rows are numbered from 0 as on the hub.
        without_label: what stands in the label's place of rows to leave out -> the reason.
        short_rows: the reason to leave out rows with too few cells; "" makes them an error.
    """

    files: Mapping[str, str] = field(
        default_factory=lambda: {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
    )
    headers: Mapping[str, str] = field(default_factory=dict)
    without_header: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    id_headers: tuple[str, ...] = ()
    without_label: Mapping[str, str] = field(default_factory=dict)
    short_rows: str = ""


@dataclass(frozen=True)
class Parsed:
    """What a folder holds: splits, the names of the files read, rows left out by reason."""

    splits: "dict[str, pd.DataFrame]"
    files: list[str]
    left_out: dict[str, int] = field(default_factory=dict)


def read_folder(task: Task, layout: Layout, folder: Path) -> Parsed:
    """All splits; a test split, which has no labels to score it by, may be missing.

    Raises:
        Unavailable: another file is missing.
        UserError: a file is damaged; the message names the file and the line.
    """
    files = layout.files.items()
    there = {split: name for split, name in files if (folder / name).exists()}
    if any(split not in there and not split.startswith("test") for split, _ in files):
        holds = sorted(path.name for path in folder.iterdir())[:6]
        expected = ", ".join(layout.files.values())
        raise Unavailable(f"expected {expected}; the folder holds {holds}")
    left_out: Counter = Counter()
    splits = {
        split: read_split(task, layout, folder / name, split.startswith("test"), left_out)
        for split, name in there.items()
    }
    return Parsed(splits, list(there.values()), dict(left_out))


def read_split(
    task: Task, layout: Layout, path: Path, may_lack_labels: bool, left_out: Counter
) -> "pd.DataFrame":
    """One file as a table with the columns `id`, the texts and `label`; adds to `left_out`.

    Raises:
        UserError: the file is damaged.
    """
    import pandas as pd

    lines = read_cells(path)
    header = list(layout.without_header.get(path.name, ())) or next(lines, (1, []))[1]
    theirs = [layout.headers.get(column, column) for column in (*task.text_columns, "label")]
    wanted = [*layout.id_headers, *theirs]
    labelled = theirs[-1] in header
    if not set(wanted[:-1]) <= set(header) or not (labelled or may_lack_labels):
        raise UserError(f"{path.name} starts with {header} instead of a header with {wanted}")
    ids = [header.index(name) for name in layout.id_headers]
    texts = [header.index(name) for name in theirs[:-1]]
    label = header.index(theirs[-1]) if labelled else None
    rows: list[tuple] = []
    for row, (number, cells) in enumerate(lines):
        if len(cells) < len(header) and layout.short_rows:
            left_out[layout.short_rows] += 1
            continue
        check_width(path, number, cells, len(header))
        if label is not None and cells[label] in layout.without_label:
            left_out[layout.without_label[cells[label]]] += 1
            continue
        name = "-".join(cells[i] for i in ids) or str(row)
        given = UNLABELLED if label is None else read_label(task, path, number, cells[label])
        rows.append((name, *(cells[i] for i in texts), given))
    table = pd.DataFrame(rows, columns=["id", *task.text_columns, "label"])
    return table.astype({"label": float if task.regression else int})


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line that is not empty.

    Quotes mean nothing in these files, so the csv module would misread them, and sentences hold
    characters at which str.splitlines breaks (U+0085, U+2028).

    Raises:
        UserError: the file is not UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path.name} line {number} is not UTF-8 ({error.reason}); get it anew"
                ) from None
            text = text.removesuffix("\n").removesuffix("\r")
            if text:
                yield number, text.split("\t")


def check_width(path: Path, number: int, cells: list[str], width: int) -> None:
    if len(cells) != width:
        raise UserError(
            f"{path.name} line {number} has {len(cells)} tab-separated cells instead of {width}; "
            "the file is damaged or cut off, get it anew"
        )


def read_label(task: Task, path: Path, number: int, cell: str) -> float:
    """A class by its number or its name; a score as it stands."""
    if task.regression:
        lowest, highest = SCORES
        try:
            score = float(cell)
        except ValueError:
            score = highest + 1
        if lowest <= score <= highest:
            return score
        known = f"a score is a number from {lowest:g} to {highest:g}"
    else:
        for label, name in enumerate(task.labels):
            if cell in (str(label), name):
                return label
        known = ", ".join(f"{i} ({name.replace('_', ' ')})" for i, name in enumerate(task.labels))
        known = f"{task.name} has {known}"
    raise UserError(
        f"{path.name} line {number}: label '{cell}' is outside the task's range; {known}"
    )
