"""Chinese news by topic, from a folder of the user's: train.csv, test.csv and label.json.

The published figures for this setting are of bert-base-chinese on five topics of the Sogou corpus.
Where the folder holds one of the two files only, as the sample with test.csv does, its rows are
split into train, validation and test.
"""

import csv
import os
from pathlib import Path

import pandas as pd

from stages.dataset.dataset import Dataset, Fetched, FetchOptions
from stages.dataset.task import Task
from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.plumbing.json_file import read_json
from stages.plumbing.paths import of_user
from stages.sources.glue import mirror_folder
from stages.sources.stratified import split

FILES = ("train.csv", "test.csv")
LABELS = "label.json"
COLUMNS = ["text", "label"]


def folder(options: FetchOptions) -> Path | None:
    """The folder that was named, if any."""
    if named := os.environ.get("SOUGOU_FOLDER"):
        return of_user(named)
    return Path(mirror_folder(options)) / "sougou" if mirror_folder(options) else None


def files(options: FetchOptions) -> list[Path]:
    at = folder(options)
    expected = [] if at is None else [at / name for name in (*FILES, LABELS)]
    return [path for path in expected if path.is_file()]


def fetch(options: FetchOptions) -> Fetched:
    at = folder(options)
    if at is None:
        raise UserError(
            "sougou has no download; set SOUGOU_FOLDER (or GLUE_MIRROR, below which it is "
            f"'sougou') to a folder that holds {LABELS} and {' and '.join(FILES)}"
        )
    if not at.is_dir():
        raise UserError(
            f"the folder '{at}' does not exist; set SOUGOU_FOLDER to one that holds {LABELS} and "
            f"{' and '.join(FILES)}"
        )
    labels = read_labels(at / LABELS)
    tables = {name: read(at / name, len(labels)) for name in FILES if (at / name).is_file()}
    if not tables:
        raise UserError(f"'{at}' holds neither {' nor '.join(FILES)}; put at least one there")
    if len(tables) == 1:
        (rows,) = tables.values()
        # By the text, so that the copies of a repeated one stay together.
        parts = split(rows, {"validation": 0.2, "test": 0.2}, by="text")
    else:
        parts = split(tables["train.csv"], {"validation": 0.1}, by="text")
        parts |= {"test": tables["test.csv"]}
    read_from = [*tables, LABELS]
    return Fetched(
        {name: parts[name] for name in ("train", "validation", "test")},
        "folder",
        {name: sha256(at / name) for name in read_from},
        labels=labels,
    )


def read_labels(path: Path) -> tuple[str, ...]:
    """Names of the topics in the order of their ids.

    Raises:
        UserError: no such file, or not `{"name": id}` with the ids 0, 1, 2 and so on.
    """
    form = f'it should be {{"name": id}} with the ids 0, 1, 2 ... as {LABELS} of the corpus is'
    try:
        ids = read_json(path)
    except UserError as error:
        raise UserError(f"{error}; {form}") from None
    if not all(type(number) is int for number in ids.values()):
        raise UserError(f"'{path}' does not map names to whole numbers; {form}")
    if len(ids) < 2 or sorted(ids.values()) != list(range(len(ids))):
        raise UserError(f"'{path}' has the ids {sorted(ids.values())}; {form}")
    return tuple(sorted(ids, key=lambda name: ids[name]))


def read(path: Path, topics: int) -> pd.DataFrame:
    """Rows of one file, numbered in its order.

    Raises:
        UserError: not UTF-8, other columns, an empty text or a label that label.json lacks.
    """
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the csv module's 131,072
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' is damaged or not UTF-8 CSV ({error}); get it anew") from None
    header = rows.pop(0) if rows else []
    if not set(COLUMNS) <= set(header):
        raise UserError(f"'{path}' has the columns {header} instead of {COLUMNS}")
    known = {str(number) for number in range(topics)}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise UserError(
                f"'{path}' row {number} has {len(row)} cells instead of {len(header)}; the file "
                "is damaged or cut off, get it anew"
            )
        cells = dict(zip(header, row, strict=True))
        if cells["label"] not in known:
            raise UserError(
                f"'{path}' row {number} has the label '{cells['label']}', which {LABELS} lacks; "
                f"it has 0 to {topics - 1}"
            )
        if not cells["text"].strip():
            raise UserError(f"'{path}' row {number} has no text; take the row out")
    table = pd.DataFrame(rows, columns=header).astype({"label": int})
    table.insert(0, "id", [f"{path.stem}-{number}" for number in range(1, len(rows) + 1)])
    return table[["id", *COLUMNS]]


DATASET = Dataset(
    Task(
        name="sougou",
        text_columns=("text",),
        labels=(),  # label.json names them
        metrics=("weighted_f1", "accuracy"),
        licence="not stated with the files; Sogou Labs published its corpora for research",
        description="What is a Chinese news text about?",
    ),
    fetch=fetch,
    reachable=lambda options: bool(files(options)),
    files=files,
)
