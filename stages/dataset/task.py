"""One task: what is classified and how it is scored, as it stands in data/<task>/task.json."""

from pydantic import BaseModel, ConfigDict

from stages.measure.metrics import REGRESSION_METRICS
from stages.plumbing import paths
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_as
from stages.plumbing.manifest import verify_files


class Task(BaseModel):
    """Written by stage download_glue, read by all later ones.

    Attributes:
        text_columns: one column, or two for sentence pairs.
        labels: class names; the position is the label in the data. Empty for a regression.
        metrics: names from stages/measure/metrics.py; the first is the one that decides.
        licence: of the data, for `dataset.json` and the model card.
        scored: splits that have labels, `validation` first; train is not among them.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    text_columns: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    licence: str
    description: str
    scored: tuple[str, ...] = ()

    @property
    def regression(self) -> bool:
        return self.metrics[0] in REGRESSION_METRICS

    @property
    def outputs(self) -> int:
        """Logits per text."""
        return 1 if self.regression else len(self.labels)


def base_of(name: str) -> str:
    """`mrpc` of `mrpc__long`: the task whose data and metrics these are."""
    return name.split("__")[0]


def prefix_of(split: str) -> str:
    """What a metric's key begins with: nothing on validation, which decides, else the split."""
    return "" if split == "validation" else f"{split}_"


def read_task(name: str) -> Task:
    """The task called `name`, as stage download_glue described it.

    Raises:
        UserError: its data are not there, or the description was altered.
    """
    file = paths.DATA / name / "task.json"
    if not file.exists():
        raise UserError(f"{file} is missing; run 'dvc repro' (or 'dvc pull') first")
    verify_files(file.parent, [file.name])
    return read_as(Task, file)
