"""What all variants answered: each predictions file of a task, parsed once."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stages.dataset.task import Task
from stages.plumbing import paths
from stages.reporting.escaping import from_sheet


class Answers(NamedTuple):
    """Labels and both models' answers on the same texts, shape (n,) each."""

    labels: np.ndarray
    fp32: np.ndarray
    variant: np.ndarray


class Predictions:
    """Of the variants `names` and the reference, for each of `seeds`."""

    def __init__(self, task: Task, seeds: list[int], names: list[str], reference: str) -> None:
        self.kind = float if task.regression else int
        self.reference = reference
        self.tables = {
            (seed, name, str(split)): rows
            for seed in seeds
            for name in dict.fromkeys([reference, *names])
            for split, rows in read(paths.predictions(task.name, seed, name)).groupby("split")
        }

    def answers(self, seed: int, name: str, split: str) -> Answers:
        """Of the variant called `name` beside the reference's."""
        fp32, ours = (self.tables[seed, each, split] for each in (self.reference, name))
        assert ours["id"].tolist() == fp32["id"].tolist(), "evaluate keeps the rows in order"
        columns = (ours["label"], fp32["predicted"], ours["predicted"])
        return Answers(*(column.to_numpy(dtype=self.kind) for column in columns))

    def ids(self, seed: int, name: str, split: str) -> list[str]:
        ids: list[str] = self.tables[seed, name, split]["id"].tolist()
        return ids

    def logits(self, seed: int, name: str, split: str) -> np.ndarray:
        """Shape (n, outputs)."""
        table = self.tables[seed, name, split]
        columns = [column for column in table if str(column).startswith("logit_")]
        return table[columns].to_numpy(dtype=float)


def read(file: Path) -> pd.DataFrame:
    """As stage evaluate wrote it."""
    table = pd.read_csv(file, dtype={"id": str}, keep_default_na=False)
    return table.assign(id=table["id"].map(from_sheet))
