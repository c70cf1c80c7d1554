"""What is classified and how it is scored: one file per task, found by its file name.

A task module defines `TASK`. Adding one: a new file here, its name in `tasks` and a recipe under
`finetune` in params.yaml.
"""

import importlib
import pkgutil
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
