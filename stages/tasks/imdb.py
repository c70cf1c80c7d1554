"""IMDB movie reviews: is a whole review positive? (Maas et al., 2011)

`validation` is a fixed tenth of the published train split. `<br />` in the texts stays, as everyone
who reports results on these data has it. The published files have no reviews rated 5 or 6.
"""

import hashlib
import os
import re
from pathlib import Path

import pandas as pd

from stages.dataset.dataset import Dataset, Fetched, FetchOptions
from stages.dataset.task import Task
from stages.plumbing.command import UserError
from stages.plumbing.paths import of_user
from stages.sources import Unavailable, first_available, hub_parquet
from stages.sources.glue import mirror_folder
from stages.sources.hub_parquet import HubFiles
from stages.sources.stratified import split

FOLDER = "aclImdb"
LABELS = {"neg": 0, "pos": 1}  # the original folder names
HUB = HubFiles(
    dataset="stanfordnlp/imdb",
    config="plain_text",
    splits={"train": "train", "test": "test"},
    columns={"text": "text", "label": "label"},
)


def fetch(options: FetchOptions) -> Fetched:
    """From the folder or the hub, in the order of `options.sources`."""
    sources = {"mirror": lambda: from_folder(options), "hub": lambda: from_hub(options)}
    return first_available(
        "IMDB",
        sources,
        options.sources,
        f"Two ways out: set IMDB_FOLDER to the unpacked {FOLDER} folder of "
        "https://ai.stanford.edu/~amaas/data/sentiment/, or run where the hub can be reached",
    )


def reachable(options: FetchOptions) -> bool:
    signs = {
        "mirror": lambda: folder_of(options) is not None,
        "hub": lambda: hub_parquet.reachable(HUB),
    }
    return any(signs[name]() for name in options.sources if name in signs)


def folder_of(options: FetchOptions) -> Path | None:
    named = os.environ.get("IMDB_FOLDER")
    if named:
        return of_user(named)
    folder = Path(mirror_folder(options)) / FOLDER
    return folder if mirror_folder(options) and folder.is_dir() else None


def from_folder(options: FetchOptions) -> Fetched:
    folder = folder_of(options)
    if folder is None:
        raise Unavailable(f"IMDB_FOLDER is not set, and no {FOLDER}/ is in the mirror")
    for name in ("train", "test"):
        for side in LABELS:
            if not (folder / name / side).is_dir():
                raise UserError(
                    f"'{folder}' lacks the folder {name}/{side}; set IMDB_FOLDER to the unpacked "
                    f"{FOLDER} folder, which holds train/neg, train/pos, test/neg and test/pos"
                )
    parts, checksums = {}, {}
    for name in ("train", "test"):
        parts[name], checksums[f"{FOLDER}/{name}"] = read_reviews(folder / name)
    return Fetched(with_validation(parts), "mirror", checksums)


def read_reviews(folder: Path) -> tuple[pd.DataFrame, str]:
    """One split and one checksum of all its files, names included.

    Raises:
        UserError: a file's name or its bytes are damaged.
    """
    digest = hashlib.sha256()
    rows = []
    for side, label in LABELS.items():
        for path in sorted((folder / side).glob("*.txt")):
            where = f"{folder.name}/{side}/{path.name}"
            if not re.fullmatch(r"\d+_\d+", path.stem):
                raise UserError(f"{where} is not called <id>_<rating>.txt; unpack the corpus anew")
            content = path.read_bytes()
            try:
                rows.append((f"{side}/{path.stem}", content.decode("utf-8"), label))
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{where} is not UTF-8 ({error.reason}); unpack the corpus anew"
                ) from None
            digest.update(f"{where}\0{len(content)}\0".encode() + content)
    return pd.DataFrame(rows, columns=["id", "text", "label"]), digest.hexdigest()


def from_hub(options: FetchOptions) -> Fetched:
    with hub_parquet.downloaded(HUB) as (parts, checksums):
        splits = with_validation(parts)
        DATASET.check(splits, options)
    return Fetched(splits, "hub", checksums)


def with_validation(parts: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """By the texts, not their names, so that every source gives the same split."""
    return {**split(parts["train"], {"validation": 0.1}, by="text"), "test": parts["test"]}


DATASET = Dataset(
    Task(
        name="imdb",
        text_columns=("text",),
        labels=("negative", "positive"),
        metrics=("f1", "accuracy"),
        licence="none stated by its authors; for research; the reviews belong to their writers",
        description="IMDB: is a movie review negative or positive?",
    ),
    fetch=fetch,
    reachable=reachable,
    published={"train": (11_250, 11_250), "validation": (1250, 1250), "test": (12_500, 12_500)},
)
