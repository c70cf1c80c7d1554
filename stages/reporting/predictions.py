"""What all variants answered, from the predictions files of a task."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stages.dataset.task import Task
from stages.plumbing import paths
from stages.reporting.escaping import from_sheet

PIECE = 100_000  # rows in memory at a time


class Answers(NamedTuple):
    """Labels and both models' answers on the same texts, shape (n,) each."""

    labels: np.ndarray
    fp32: np.ndarray
    variant: np.ndarray


@dataclass(frozen=True)
class Given:
    """One model's answers on one split, of which a row takes 16 bytes.

    Attributes:
        labels, predicted: shape (n,).
        ids: a checksum of the rows' ids, in their order.
    """

    labels: np.ndarray
    predicted: np.ndarray
    ids: str


class Predictions:
    """Of the variants `names` and the reference, for each of `seeds`."""

    def __init__(self, task: Task, seeds: list[int], names: list[str], reference: str) -> None:
        self.task, self.reference = task, reference
        self.given = {
            (seed, name): read(paths.predictions(task.name, seed, name), task.regression)
            for seed in seeds
            for name in dict.fromkeys([reference, *names])
        }

    def answers(self, seed: int, name: str, split: str) -> Answers:
        """Of the variant called `name` beside the reference's."""
        fp32, ours = (self.given[seed, each][split] for each in (self.reference, name))
        assert ours.ids == fp32.ids, "evaluate keeps the rows in order"
        return Answers(ours.labels, fp32.predicted, ours.predicted)

    def logits(self, seed: int, name: str, split: str, rows: np.ndarray) -> np.ndarray:
        """Of these rows of the split, which are in order: shape (rows, outputs)."""
        found, start = [np.zeros((0, self.task.outputs))], 0
        for piece in pieces(paths.predictions(self.task.name, seed, name)):
            of_split = piece[piece["split"] == split].filter(like="logit_")
            first, end = np.searchsorted(rows, [start, start + len(of_split)])
            found.append(of_split.to_numpy(dtype=float)[rows[first:end] - start])
            start += len(of_split)
        return np.concatenate(found)


def read(file: Path, regression: bool) -> dict[str, Given]:
    """By split."""
    kind = float if regression else int
    labels: dict[str, list[np.ndarray]] = defaultdict(list)
    predicted: dict[str, list[np.ndarray]] = defaultdict(list)
    ids: dict[str, Any] = defaultdict(hashlib.sha256)
    for piece in pieces(file, ["split", "id", "label", "predicted"]):
        for name, rows in piece.groupby("split"):
            labels[str(name)].append(rows["label"].to_numpy(dtype=kind))
            predicted[str(name)].append(rows["predicted"].to_numpy(dtype=kind))
            ids[str(name)].update("".join(f"{each}\0" for each in rows["id"]).encode())
    return {
        name: Given(np.concatenate(parts), np.concatenate(predicted[name]), ids[name].hexdigest())
        for name, parts in labels.items()
    }


def pieces(file: Path, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """Of a predictions file, which may be of a million rows."""
    for piece in pd.read_csv(
        file, dtype={"id": str}, keep_default_na=False, usecols=columns, chunksize=PIECE
    ):
        yield piece.assign(id=piece["id"].map(from_sheet)) if "id" in piece else piece
