"""How a model is stored and run: one file per variant, one protocol, found by its file name.

Adding a variant: a new file here that follows `Variant`, and one line `<name>: {}` under
`quantize` in params.yaml. Heavy imports belong inside its functions, so that params.yaml can be
checked without them.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from stages.plumbing.command import UserError, nearest
from stages.plumbing.section import Section

if TYPE_CHECKING:
    from stages.models.tokens import Predict
    from stages.tasks import Task

REFERENCE = "fp32"


@dataclass(frozen=True)
class Source:
    """What a variant is built from.

    Attributes:
        task: whose rows these are.
        checkpoint: the fine-tuned FP32 model as transformers saves it, with `recipe.json`.
        train: parquet of the training split, the only rows that calibration may see.
        calibration: folder with what the variant's own `calibrate` wrote; for a variant without
            one it holds nothing.txt, a line that says so.
    """

    task: "Task"
    checkpoint: Path
    train: Path
    calibration: Path


class Skipped(Exception):
    """Raised by `build` where a variant cannot run; the message says why and what would help."""


class Variant(Protocol):
    """A module in stages/variants/.

    It may also have `calibrate(source, folder, params)`, which writes into `folder` what it learns
    from the training rows before it is built: ranges, sensitivities, trained weights. One that
    chooses by CPU what multiplies has `kernel()`, which names the choice.
    """

    Params: type[Section]

    def build(self, source: Source, folder: Path, params: Section) -> None:
        """Write the variant's weights into `folder`, where config and tokenizer already lie.

        A table `sensitivity.csv` there becomes a plot.
        """

    def load(self, artifact: Path) -> "Predict":
        """Ready to predict. Thread counts are set before the call, by whoever runs the process."""

    def count_quantized(self, artifact: Path) -> int:
        """Operators of the loaded variant that really run in reduced precision."""

    def tensor_bytes(self, artifact: Path) -> dict[str, int]:
        """Tensor name, as in the FP32 model -> bytes stored for it."""

    def export(self, artifact: Path, folder: Path) -> list[str]:
        """Write what can ship without this project; returns the names of the model files."""


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Variant:
    """The variant called `name`.

    Raises:
        UserError: there is no such file in stages/variants/.
    """
    if name not in names():
        raise UserError(f"unknown variant '{name}'; {nearest(name, names())}")
    return cast(Variant, importlib.import_module(f"{__name__}.{name}"))


def kernel_of(name: str) -> str:
    """What the variant called `name` multiplies with here, where that depends on the machine."""
    choose = getattr(get(name), "kernel", None)
    return choose() if choose else "library"
