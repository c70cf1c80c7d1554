"""Corpora of synthetic texts, and `make score` over them."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from stages import variants
from stages.score.__main__ import score
from stages.tasks import cola, mrpc
from tests.building import as_if_trained, build, make_ingredients, ship
from tests.conftest import WORDS

ROOT = Path(__file__).parents[1]


def ship_integers(checkpoint: Path, folder: Path) -> dict[str, Path]:
    """Task -> an export of the variant ibert, as stage export leaves it."""
    ingredients = make_ingredients(as_if_trained(checkpoint, folder / "model"), folder)
    artifact = build("ibert", ingredients, folder / "artifact")
    found = {}
    for task in (cola.DATASET.task, mrpc.DATASET.task):
        (target := folder / task.name).mkdir()
        files = variants.get("ibert").engine.export(artifact, target)
        found[task.name] = ship(artifact, target, files[:1], task)
    return found


def sentences(rows: int, seed: int = 0, longest: int = 20) -> list[str]:
    random_ = random.Random(seed)
    return [" ".join(random_.choices(WORDS, k=random_.randint(1, longest))) for _ in range(rows)]


def corpus(rows: int, seed: int = 0) -> dict[str, list]:
    return {"id": [f"{i:05}" for i in range(rows)], "sentence": sentences(rows, seed)}


def write_csv(file: Path, columns: Mapping[str, Sequence], delimiter: str = ",") -> Path:
    pd.DataFrame(columns).to_csv(file, index=False, sep=delimiter)
    return file


def write_tsv(file: Path, columns: Mapping[str, Sequence]) -> Path:
    return write_csv(file, columns, "\t")


def write_json_lines(file: Path, columns: Mapping[str, Sequence]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def write_parquet(file: Path, columns: Mapping[str, Sequence], group: int = 70) -> Path:
    pq.write_table(pa.table(dict(columns)), file, row_group_size=group)
    return file


WRITERS = {
    ".csv": write_csv,
    ".tsv": write_tsv,
    ".jsonl": write_json_lines,
    ".parquet": write_parquet,
}


def scored(corpus: Path | str, out: Path, export: Path, **options: Any) -> pd.DataFrame:
    """What the command writes; one worker, which is this process, unless told otherwise."""
    score(str(corpus), str(out), model=str(export), **{"workers": "1"} | options)
    return pd.read_parquet(out)


def started(
    *arguments: object, python: str = sys.executable, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """The command in a process of its own, which is not waited for."""
    return subprocess.Popen(
        [python, "-m", "stages.score", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Done(NamedTuple):
    code: int
    out: str
    err: str


def run(*arguments: object, **how: Any) -> Done:
    child = started(*arguments, **how)
    out, err = child.communicate()
    return Done(child.returncode, out, err)
