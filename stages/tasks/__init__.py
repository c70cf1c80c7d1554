"""What is classified and how it is scored: one file per task, found by its file name.

A task module defines `DATASET`: the task and where its rows come from. Only stage download_glue
needs it; it writes the task itself to data/<task>/task.json, which all later stages read. Adding
one: a new file here, its name in `tasks` and a recipe under `finetune` in params.yaml. A file of
your own needs no code: see `csv` in params.yaml.

`<task>__<anything>` is the same task under a second name, with a recipe and results of its own.
"""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd
from pydantic import BaseModel, ConfigDict

from stages.plumbing import paths
from stages.plumbing.command import UserError, nearest
from stages.plumbing.files import read_json

UNLABELLED = -1
REGRESSION_METRICS = ("pearson", "spearman")

# One table, or pieces of one that is too large for memory.
Split = pd.DataFrame | Iterable[pd.DataFrame]


class Settings(Protocol):
    """`download_glue` of params.yaml."""

    @property
    def sources(self) -> list: ...
    @property
    def mirror(self) -> str: ...
    @property
    def counts(self) -> str: ...


class Task(BaseModel):
    """One task, as it stands in data/<task>/task.json.

    Attributes:
        text_columns: one column, or two for sentence pairs.
        labels: class names; the position is the label in the data. Empty for a regression.
        metrics: names from stages/measure/accuracy.py; the first is the one that decides.
        licence: of the data, for `dataset.json` and the model card.
        scored: splits that have labels, `validation` first; train is not among them.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    text_columns: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    licence: str
    description: str
    scored: tuple[str, ...] = ()

    @property
    def regression(self) -> bool:
        return self.metrics[0] in REGRESSION_METRICS

    @property
    def outputs(self) -> int:
        """Logits per text."""
        return 1 if self.regression else len(self.labels)


@dataclass(frozen=True)
class Fetched:
    """What a source gave.

    Attributes:
        splits: `train`, `validation`, optionally `test` and others; each with the columns `id`
            (str), the task's text columns (str) and `label` (int, for a regression float; -1 in a
            split without labels).
        source: the kind of source, never a path of this machine.
        sha256: file name -> checksum of each file that was read.
        labels: class names, where only the data say them.
        left_out: rows that could not be used, by reason.
    """

    splits: Mapping[str, Split]
    source: str
    sha256: dict[str, str]
    labels: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A task and where its rows come from.

    Attributes:
        fetch: gets the data; raises UserError when it cannot.
        reachable: a quick look whether `fetch` has a chance.
        published: split -> rows per label, or (rows,) where only their sum is known; checked after
            `fetch` unless `download_glue.counts` is `any`.
        tolerance: share of a split's rows by which it may differ from `published`, where several
            versions of the files are about.
        files: the user's own files that `fetch` would read, so that a change of them is noticed.
    """

    task: Task
    fetch: Callable[[Settings], Fetched]
    reachable: Callable[[Settings], bool]
    published: dict[str, tuple[int, ...]] = field(default_factory=dict)
    tolerance: float = 0.0
    files: Callable[[Settings], list[Path]] = lambda settings: []

    def check(self, splits: Mapping[str, pd.DataFrame], settings: Settings) -> None:
        """Raises UserError if a split is empty, of one class, or not what was published."""
        for name, rows in splits.items():
            published = self.published.get(name, ()) if settings.counts == "published" else ()
            counts = Counter(rows["label"].tolist())
            check_counts(self.task, name, counts, published, self.tolerance)


def check_counts(
    task: Task,
    name: str,
    counts: Mapping[float, int],
    published: tuple[int, ...] = (),
    tolerance: float = 0.0,
) -> None:
    """Refuse what training or scoring would silently make nonsense of.

    Args:
        counts: label -> rows.
        published: as in `Dataset`.
        tolerance: as in `Dataset`; for the sum of the rows.

    Raises:
        UserError: no rows, a label outside the task's range, one class only, other counts than
            published.
    """
    where = f"{task.name}/{name}"
    rows = sum(counts.values())
    if not rows:
        raise UserError(f"{where} has no rows; the file is empty or cut off, get it anew")
    remedy = (
        "the file is another version or was cut off; get it anew, or accept it with "
        "'download_glue.counts: any' in params.yaml"
    )
    if published and abs(rows - sum(published)) > tolerance * sum(published):
        raise UserError(f"{where} has {rows} rows, published are {sum(published)}; {remedy}")
    if name.startswith("test") and set(counts) == {UNLABELLED}:
        return
    if task.regression:
        if len(counts) == 1:
            raise UserError(f"{where} has one value only ({next(iter(counts))}) as its score")
        return
    strange = sorted(set(counts) - set(range(len(task.labels))))
    if strange:
        raise UserError(
            f"{where} has the label {strange[0]}, outside the task's range 0 to "
            f"{len(task.labels) - 1} ({', '.join(task.labels)}); correct the data"
        )
    if len(counts) == 1:
        only = task.labels[int(next(iter(counts)))]
        raise UserError(f"{where} has one class only ('{only}'); nothing can be learned or scored")
    found = tuple(counts.get(label, 0) for label in range(len(task.labels)))
    if len(published) > 1 and found != published:
        raise UserError(
            f"{where} has {dict(zip(task.labels, found, strict=True))} rows, published are "
            f"{dict(zip(task.labels, published, strict=True))}; {remedy}"
        )


def prefix_of(split: str) -> str:
    """What a metric's key begins with: nothing on validation, which decides, else the split."""
    return "" if split == "validation" else f"{split}_"


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def dataset(name: str, own: Mapping[str, Callable[[str], Dataset]]) -> Dataset:
    """The data set called `name`, or what stands before `__` in it.

    Args:
        own: the user's own files (`csv` in params.yaml): name -> data set under another name.

    Raises:
        UserError: no file in stages/tasks/ and no entry under `csv` is called so.
    """
    base = name.split("__")[0]
    if base in own:
        return own[base](name)
    if base not in names():
        raise UserError(f"unknown task '{name}'; {nearest(base, [*names(), *own])}")
    found: Dataset = importlib.import_module(f"{__name__}.{base}").DATASET
    return found


def get(name: str) -> Task:
    """The task called `name`, as stage download_glue described it.

    Raises:
        UserError: its data are not there.
    """
    file = paths.DATA / name / "task.json"
    if not file.exists():
        raise UserError(f"{file} is missing; run 'dvc repro' (or 'dvc pull') first")
    return Task.model_validate(read_json(file))
