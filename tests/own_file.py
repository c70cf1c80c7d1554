"""A file of the user's own: written, described as in params.yaml, read back or refused."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from stages.dataset.dataset import Fetched
from stages.plumbing.command import UserError
from stages.sources.own_file.csv_file import CsvFile

SETTINGS = SimpleNamespace(sources=[], mirror="", counts="published")
WHOLE = "review,stars\n" + "".join(f"text {i},{'15'[i % 2]}\n" for i in range(40))


def entry(train: Path, **keys: object) -> CsvFile:
    basic = {"train": str(train), "text": "review", "label": "stars", "metric": "weighted_f1"}
    return CsvFile.model_validate(basic | keys)


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def split(fetched: Fetched, name: str) -> pd.DataFrame:
    pieces = fetched.splits[name]
    assert not isinstance(pieces, pd.DataFrame)
    return pd.concat(list(pieces), ignore_index=True)


def all_rows(fetched: Fetched) -> pd.DataFrame:
    """Train and what was held out of it, in the order of the file."""
    rows = pd.concat([split(fetched, "train"), split(fetched, "validation")])
    return rows.sort_values("id", key=lambda ids: ids.astype(int)).reset_index(drop=True)


def fetch(train: Path, **keys: object) -> Fetched:
    return entry(train, **keys).dataset("own").fetch(SETTINGS)


def refusal(train: Path, **keys: object) -> str:
    with pytest.raises(UserError) as error:
        fetch(train, **keys)
    assert "\n" not in str(error.value)
    return str(error.value)
