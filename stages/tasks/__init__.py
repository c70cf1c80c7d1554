"""What is classified: one file per task, found by its file name.

A task module defines `DATASET`: the task and where its rows come from. Only stage download_glue
needs it; it writes the task itself to data/<task>/task.json, which all later stages read. Adding
one: a new file here, its name in `tasks` and its training settings under `finetune` in params.yaml.
A file of your own needs no code: see `csv` in params.yaml.

`<task>__<anything>` is the same task under a second name, with settings and results of its own.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping

from stages.dataset.dataset import Dataset
from stages.plumbing.command import UserError, nearest

OWN_FILES = "stages.sources.own_file.csv_file"  # what reads the entries of `csv`


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def base_of(name: str) -> str:
    """`mrpc` of `mrpc__long`: the task whose data and metrics these are."""
    return name.split("__")[0]


def module_of(name: str, own: Iterable[str]) -> str:
    """The module that defines the task called `name`, or what stands before `__` in it.

    Args:
        own: names of the user's own files (`csv` in params.yaml).

    Raises:
        UserError: it is no file in stages/tasks/ and none of `own`.
    """
    base, known = base_of(name), [*names(), *own]
    if base not in known:
        raise UserError(f"unknown task '{name}'; {nearest(base, known)}")
    return f"{__name__}.{base}" if base in names() else OWN_FILES


def dataset(name: str, own: Mapping[str, Callable[[str], Dataset]]) -> Dataset:
    """Where the rows of the task called `name` come from.

    Args:
        own: the user's own files: name -> data set under another name.

    Raises:
        UserError: there is no such task.
    """
    module = module_of(name, own)
    if module == OWN_FILES:
        return own[base_of(name)](name)
    defined: Dataset = importlib.import_module(module).DATASET
    return defined
