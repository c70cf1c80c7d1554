"""A data set: where a task's rows come from, and what is checked of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Union

from stages.dataset.task import Task
from stages.plumbing.command import UserError

if TYPE_CHECKING:
    import pandas as pd

UNLABELLED = -1

# One table, or pieces of one that is too large for memory.
Split = Union["pd.DataFrame", Iterable["pd.DataFrame"]]


class FetchOptions(Protocol):
    """`download_glue` of params.yaml."""

    @property
    def sources(self) -> list: ...
    @property
    def mirror(self) -> str: ...
    @property
    def counts(self) -> str: ...


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
    fetch: Callable[[FetchOptions], Fetched]
    reachable: Callable[[FetchOptions], bool]
    published: dict[str, tuple[int, ...]] = field(default_factory=dict)
    tolerance: float = 0.0
    files: Callable[[FetchOptions], list[Path]] = lambda options: []

    def check(self, splits: "Mapping[str, pd.DataFrame]", options: FetchOptions) -> None:
        """Raises UserError if a split is empty, of one class, or not what was published."""
        counts = {name: Counter(rows["label"].tolist()) for name, rows in splits.items()}
        self.check_counts(self.task, counts, options)

    def check_counts(
        self, task: Task, counts: Mapping[str, Mapping[float, int]], options: FetchOptions
    ) -> None:
        """`check` of splits that were counted: split -> label -> rows.

        Args:
            task: with the labels that the data gave it.
        """
        for name, rows_of in counts.items():
            published = self.published.get(name, ()) if options.counts == "published" else ()
            check_counts(task, name, rows_of, published, self.tolerance)


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
        raise UserError(
            f"{where} has one class only ('{only}'); nothing can be learned or scored, give it "
            "rows of at least two classes"
        )
    by_class = tuple(counts.get(label, 0) for label in range(len(task.labels)))
    if len(published) > 1 and by_class != published:
        raise UserError(
            f"{where} has {dict(zip(task.labels, by_class, strict=True))} rows, published are "
            f"{dict(zip(task.labels, published, strict=True))}; {remedy}"
        )
