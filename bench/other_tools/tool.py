"""The protocol of a tool: a module beside this one."""

from pathlib import Path
from typing import Protocol

from bench.other_tools.job import Job
from bench.other_tools.questions import Judgement, Said
from bench.other_tools.steps import Command
from stages.model.tokens import Predict


class Tool(Protocol):
    """Attributes:
    TITLE: as its makers write it.
    PACKAGE: whose version is noted; empty for this project.
    REQUIREMENTS: pinned, for an environment of its own; empty for this project's.
    MODULES: that must be found there.
    """

    TITLE: str
    PACKAGE: str
    REQUIREMENTS: tuple[str, ...]
    MODULES: tuple[str, ...]

    def prepare(self, folder: Path) -> None:
        """What lies in `folder` before its user starts."""

    def files(self, job: Job) -> dict[str, str]:
        """What its user has to write, by name."""

    def commands(self, job: Job) -> list[Command]:
        """What its user has to type, in `folder`."""

    def written(self, folder: Path) -> dict[str, str]:
        """What it wrote there that may answer a question."""

    def judge(self, said: Said) -> dict[str, Judgement]:
        """By the keys of QUESTIONS."""

    def reported(self, said: Said) -> dict[str, float]:
        """Scores of the model that it made, as the tool itself says them, 0 to 1."""

    def result(self, folder: Path) -> Path:
        """The file with weights that it would have its user ship."""

    def load(self, folder: Path, job: Job) -> tuple[Predict, tuple[str, ...]]:
        """That model, and the names of its outputs in their order."""
