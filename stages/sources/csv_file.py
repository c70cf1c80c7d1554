"""The user's own CSV, TSV or Parquet files as a task."""

from typing import Literal

from stages.plumbing.section import Section
from stages.tasks import Dataset

Metric = Literal["f1", "weighted_f1", "accuracy", "matthews", "pearson", "spearman"]


class CsvFile(Section):
    """One entry of `csv` in params.yaml."""

    train: str
    metric: Metric

    def dataset(self, name: str) -> Dataset:
        """The task under the name `name`."""
        raise NotImplementedError
