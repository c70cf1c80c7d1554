"""What a variant is built from."""

from dataclasses import dataclass
from pathlib import Path

from stages.dataset.task import Task


@dataclass(frozen=True)
class Ingredients:
    """Everything that a variant may read while it is built.

    Attributes:
        task: whose rows these are.
        checkpoint: the fine-tuned FP32 model as transformers saves it, with `recipe.json`.
        train: parquet of the training split, the only rows that calibration may see.
        learned: folder of what the variant's own `calibrate` wrote; empty if it has none.
    """

    task: Task
    checkpoint: Path
    train: Path
    learned: Path


class Skipped(Exception):
    """Raised while a variant is built that cannot run here; says why and what would help."""
