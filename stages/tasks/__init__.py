"""What is classified and how it is scored: one file per task, found by its file name.

A task module defines `TASK`. Adding one: a new file here, its name in `tasks` and a recipe under
`finetune` in params.yaml.
"""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd

from stages.plumbing.command import UserError, nearest

UNLABELLED = -1


class Settings(Protocol):
    """`download_glue` of params.yaml."""

    @property
    def sources(self) -> list: ...
    @property
    def mirror(self) -> str: ...


@dataclass(frozen=True)
class Fetched:
    """What a source gave.

    Attributes:
        splits: `train`, `validation`, optionally `test`; each with the columns `id` (str), the
            task's text columns (str) and `label` (int; -1 in a test split without labels).
        source: the kind of source, never a path of this machine.
        sha256: file name -> checksum of each file that was read.
    """

    splits: dict[str, pd.DataFrame]
    source: str
    sha256: dict[str, str]


@dataclass(frozen=True)
class Task:
    """One classification task.

    Attributes:
        text_columns: one column, or two for sentence pairs.
        labels: class names; the position is the label in the data.
        metrics: names from stages/measure/accuracy.py; the first is the one that decides.
        licence: of the data, for `dataset.json` and the model card.
        fetch: gets the data; raises UserError when it cannot.
        reachable: a quick look whether `fetch` has a chance.
        published: split -> number of rows per label, checked after `fetch`.
    """

    name: str
    text_columns: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    licence: str
    description: str
    fetch: Callable[[Settings], Fetched]
    reachable: Callable[[Settings], bool]
    published: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "f1" in self.metrics and len(self.labels) != 2:
            raise UserError(
                f"stages/tasks/{self.name}.py: the metric 'f1' is that of class 1 of two, but the "
                f"task has {len(self.labels)} labels; use 'weighted_f1'"
            )

    def check(self, splits: dict[str, pd.DataFrame]) -> None:
        """Raises UserError if a split is empty, of one class, or not what was published."""
        for name, rows in splits.items():
            check_split(self, name, rows)


def check_split(task: Task, name: str, rows: pd.DataFrame) -> None:
    """Refuse what training or scoring would silently make nonsense of.

    Raises:
        UserError: no rows, a label outside the task's range, one class only, other counts than
            published.
    """
    where = f"{task.name}/{name}"
    if rows.empty:
        raise UserError(f"{where} has no rows; the file is empty or cut off, get it anew")
    counts: dict[int, int] = Counter(rows["label"].tolist())
    if name == "test" and set(counts) == {UNLABELLED}:
        expected = sum(task.published.get(name, ()))
        if expected and len(rows) != expected:
            raise UserError(f"{where} has {len(rows)} rows, published are {expected}")
        return
    strange = sorted(set(counts) - set(range(len(task.labels))))
    if strange:
        raise UserError(
            f"{where} has the label {strange[0]}, outside the task's range 0 to "
            f"{len(task.labels) - 1} ({', '.join(task.labels)}); correct the data"
        )
    if len(counts) == 1:
        only = task.labels[next(iter(counts))]
        raise UserError(f"{where} has one class only ('{only}'); nothing can be learned or scored")
    found = tuple(counts.get(label, 0) for label in range(len(task.labels)))
    published = task.published.get(name, found)
    if found != published:
        raise UserError(
            f"{where} has {dict(zip(task.labels, found, strict=True))} rows, published are "
            f"{dict(zip(task.labels, published, strict=True))}; the file is another version or "
            "was cut off, get it anew"
        )


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Task:
    """The task called `name`.

    Raises:
        UserError: there is no such file in stages/tasks/.
    """
    if name not in names():
        raise UserError(f"unknown task '{name}'; {nearest(name, names())}")
    task: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return task
