"""The user's own CSV, TSV or Parquet files as a task.

Files are read twice or more rather than kept in memory, see rows.py.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from stages.dataset.dataset import Dataset, Fetched, FetchOptions, Split
from stages.dataset.task import Task, base_of
from stages.measure.metrics import METRICS, REGRESSION_METRICS
from stages.plumbing.command import UserError, nearest
from stages.plumbing.files import sha256
from stages.plumbing.paths import of_user
from stages.plumbing.section import Distinct, Section
from stages.sources.own_file.delimited import (
    Dialect,
    another_than,
    known_encoding,
    one_character,
)
from stages.sources.own_file.holdout import held_out
from stages.sources.own_file.labels import Classes, Scores, plain, readable
from stages.sources.own_file.rows import OwnRows, Part, Scan
from stages.sources.own_file.table import Table

TENTH = 10


class CsvFile(Section):
    """One entry of `csv` in params.yaml.

    Attributes:
        train, validation, test: paths; ~ and $VARIABLES are expanded. No validation: a tenth of
            train. No test: none. A model that is not trained here needs no train.
        columns: their names, where the files have no first row of them.
        text, text_pair, label, id: columns; text_pair and id may be "". No id: the row's number.
        metric: decides; pearson or spearman make the task a regression.
        labels: value in the file -> class, in the order of the classes; f1 is that of the second
            one. Several values may mean one class. Empty: the values in train, sorted.
        encoding, delimiter, quote: of CSV and TSV, see `Dialect`.
        calibration_pct: of the texts, which are not scored then, where there is no train: variants
            learn the ranges of numbers from them.
    """

    train: str = ""
    text: str = Field(min_length=1)
    label: str = Field(min_length=1)
    metric: str
    validation: str = ""
    test: str = ""
    columns: Annotated[tuple[str, ...], Field(strict=False), Distinct] = ()
    text_pair: str = ""
    id: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    encoding: Annotated[str, AfterValidator(known_encoding)] = "utf-8"
    delimiter: Annotated[str, AfterValidator(one_character)] = ""
    quote: Annotated[str, AfterValidator(one_character)] = '"'
    licence: str = "not stated"
    calibration_pct: float = Field(default=5.0, gt=0, le=50)

    @field_validator("metric")
    @classmethod
    def listed(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"no such metric; {nearest(metric, list(METRICS))}")
        return metric

    @field_validator("validation", "test")
    @classmethod
    def another_file(cls, path: str, info: ValidationInfo) -> str:
        for role in ("train", "validation"):
            if path and same_file(path, info.data.get(role, "")) and role != info.field_name:
                raise ValueError(f"'{role}' is the same file; leave one of the two out")
        return path

    @field_validator("label", "text_pair", "id")
    @classmethod
    def another_column(cls, name: str, info: ValidationInfo) -> str:
        for role in ("text", "label", "text_pair"):
            if name and name == info.data.get(role) and role != info.field_name:
                raise ValueError(f"'{role}' is the same column; name another one")
        return name

    @field_validator("columns", "text_pair", "id")
    @classmethod
    def among_the_columns(cls, given: Any, info: ValidationInfo) -> Any:
        """Those that are named for a file without a first row of them."""
        if isinstance(given, tuple):
            columns, wanted = given, [info.data.get(role, "") for role in ("text", "label")]
        else:
            columns, wanted = info.data.get("columns", ()), [given]
        for name in wanted if columns else ():
            if name and name not in columns:
                raise ValueError(f"'columns' lacks {name!r}; {nearest(name, [*columns])}")
        return given

    @field_validator("quote")
    @classmethod
    def no_delimiter(cls, quote: str, info: ValidationInfo) -> str:
        return another_than(info.data.get("delimiter", ""), quote)

    @field_validator("labels", mode="before")
    @classmethod
    def as_text(cls, labels: object) -> object:
        """YAML reads 1: and true: as a number and a truth value; a file's cells are text."""
        if not isinstance(labels, dict):
            return labels
        for value, name in labels.items():
            if isinstance(name, bool | dict | list) or name is None or not str(name).strip():
                raise ValueError(f"the class of {value!r} is {name!r}; put its name in quotes")
        plainly = {plain(str(value)): str(name) for value, name in labels.items()}
        if len(plainly) < len(labels):
            raise ValueError("one value stands there twice (1.0 is 1, True is true); name it once")
        return {value: readable(name) for value, name in plainly.items()}

    @field_validator("labels")
    @classmethod
    def fit_the_metric(cls, labels: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if labels and info.data.get("metric") in REGRESSION_METRICS:
            raise ValueError("a regression has no classes; leave labels out, or take weighted_f1")
        written = {plain(name): name for name in labels.values()}
        for name in labels.values():
            if name != (other := written[plain(name)]):
                raise ValueError(f"the classes {name!r} and {other!r} are one (1.0 is 1); name one")
        if labels and len(set(labels.values())) < 2:
            raise ValueError("two classes are needed at least; {} takes the values found in train")
        return labels

    def as_it_is_scored(self) -> "CsvFile":
        """For a model that is not trained here: all of the file is scored."""
        if self.validation:
            return self
        return self.model_copy(update={"train": "", "validation": self.train})

    def dataset(self, name: str, model: Callable[[], tuple[str, ...]] = tuple) -> Dataset:
        """The task under the name `name`.

        Args:
            model: what a fine-tuned model calls its classes.
        """
        more = REGRESSION_METRICS if self.metric in REGRESSION_METRICS else ("accuracy",)
        task = Task(
            name=name,
            text_columns=("text", "text_pair") if self.text_pair else ("text",),
            labels=tuple(dict.fromkeys(self.labels.values())),
            metrics=tuple(dict.fromkeys((self.metric, *more))),
            licence=self.licence,
            description=f"A file of the user's own: '{self.label}' of '{self.text}'",
        )
        tables = [rows.table for rows in self.files(name).values()]
        return Dataset(
            task,
            fetch=partial(self.fetch, task, model),
            reachable=lambda options: tables[0].path.is_file(),
            files=lambda options: [table.path for table in tables],
        )

    def files(self, name: str) -> dict[str, OwnRows]:
        """Role -> rows; the first one's labels are the classes."""
        section = f"csv.{base_of(name)}"
        dialect = Dialect(self.encoding, self.delimiter, self.quote, section)
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        texts = [self.text, self.text_pair] if self.text_pair else [self.text]
        return {
            role: OwnRows(Table(path, role, dialect, self.columns), texts, self.label, self.id)
            for role, path in named.items()
            if path
        }

    def fetch(
        self, task: Task, model: Callable[[], tuple[str, ...]], options: FetchOptions
    ) -> Fetched:
        """Check every row of every file; the splits are read from them once more when written.

        Raises:
            UserError: names the file, the row or column, and the remedy.
        """
        files = self.files(task.name)
        for rows in files.values():
            rows.table.check()
        numbers = Scores() if task.regression else Classes(self.labels)
        first, *others = files
        scans = {first: files[first].scan(numbers)}
        if isinstance(numbers, Classes):
            try:
                order = numbers.settle(model())
            except ValueError as error:
                raise UserError(f"{files[first].section}: {error}") from None
            scans[first] = replace(scans[first], labels=order[scans[first].labels])
            self.check_classes(files[first], numbers.names, scans[first])
        scans |= {role: files[role].scan(numbers) for role in others}
        if self.train:
            print_shared_texts(task, scans)
        return Fetched(
            self.splits(files, scans, task.regression),
            source="file",
            sha256={
                f"{role}: {each.table.name}": sha256(each.table.path)
                for role, each in files.items()
            },
            labels=numbers.names,
            left_out={
                f"no text in {role}": each.empty for role, each in scans.items() if each.empty
            },
        )

    def check_classes(self, rows: OwnRows, classes: tuple[str, ...], first: Scan) -> None:
        """Raises UserError if the metric does not fit; says which classes have no row."""
        if self.metric == "f1" and len(classes) > 2:
            raise UserError(
                f"{rows.section}.metric is f1, which scores the second of two classes, but "
                f"'{self.label}' has {len(classes)} ({', '.join(classes)}); take weighted_f1"
            )
        for number, name in enumerate(classes):
            if not (first.labels == number).any():
                lacks = "cannot be learned" if self.train else "is not scored"
                print(f"{rows.section}: no row of {rows.table.role} is '{name}', so it {lacks}")

    def splits(
        self, files: dict[str, OwnRows], scans: dict[str, Scan], regression: bool
    ) -> dict[str, Split]:
        """Raises UserError if there are too few rows to hold some out."""
        parts = {
            role: Part(files[role], scan.labels, np.ones(len(scan.labels), dtype=bool))
            for role, scan in scans.items()
        }
        for role, source, one_in, remedy in (
            ("validation", "train", TENTH, "name a file in {}.validation"),
            ("train", "validation", round(100 / self.calibration_pct), "name a file in {}.train"),
        ):
            if role in parts:
                continue
            rows, scan = files[source], scans[source]
            strata = np.zeros_like(scan.labels) if regression else scan.labels
            chosen = held_out(scan.texts, strata, one_in)
            if not chosen.any():
                raise UserError(
                    f"{rows.table.name} has too few different texts per value of '{self.label}' to "
                    f"hold one in {one_in} out; add rows, {remedy.format(rows.section)}, or set "
                    "'metric: pearson' if these are scores"
                )
            parts[source] = Part(rows, scan.labels, ~chosen)
            parts[role] = Part(rows, scan.labels, chosen)
            if role == "train":
                print(
                    f"{rows.section}: {chosen.sum():,} of {len(chosen):,} texts are for "
                    "calibration, and not scored"
                )
        return {role: parts[role] for role in ("train", "validation", "test") if role in parts}


def same_file(one: str, other: str) -> bool:
    return bool(other) and of_user(one).resolve() == of_user(other).resolve()


def print_shared_texts(task: Task, scans: dict[str, Scan]) -> None:
    """Say how much of the other files is in train too: a score on such texts proves little."""
    for role in [role for role in scans if role != "train"]:
        shared = np.isin(scans[role].texts, scans["train"].texts)
        if shared.any():
            print(f"{task.name}: {shared.sum()} of {len(shared)} texts in {role} are in train too")
