"""What is classified: one file per task, found by its file name.

A task module defines `DATASET`: the task and where its rows come from. Only stage download_glue
needs it; it writes the task itself to data/<task>/task.json, which all later stages read. Adding
one: a new file here, its name in `tasks` and its training settings under `finetune` in params.yaml.
A file of your own needs no code: see `csv` in params.yaml.

`<task>__<anything>` is the same task under a second name, with settings and results of its own.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Protocol

from stages.dataset.dataset import Dataset
from stages.dataset.task import base_of
from stages.plumbing.command import UserError, nearest


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


class OwnFile(Protocol):
    """An entry of `csv` in params.yaml."""

    def dataset(self, name: str, model: Callable[[], tuple[str, ...]] = ...) -> Dataset: ...


def module_of(name: str, own: Mapping[str, OwnFile]) -> str:
    """The module that defines the task called `name`, or what stands before `__` in it.

    Args:
        own: the user's own files, by name.

    Raises:
        UserError: it is no file in stages/tasks/ and none of `own`.
    """
    base, known = base_of(name), [*names(), *own]
    if base not in known:
        raise UserError(f"unknown task '{name}'; {nearest(base, known)}")
    return f"{__name__}.{base}" if base in names() else type(own[base]).__module__


def dataset(
    name: str, own: Mapping[str, OwnFile], model: Callable[[], tuple[str, ...]] = tuple
) -> Dataset:
    """Where the rows of the task called `name` come from.

    Args:
        model: what a fine-tuned model calls its classes; their order is kept in a file of the
            user's that does not say one.

    Raises:
        UserError: there is no such task.
    """
    module, base = module_of(name, own), base_of(name)
    if base in own:
        return own[base].dataset(name, model)
    defined: Dataset = importlib.import_module(module).DATASET
    return defined
