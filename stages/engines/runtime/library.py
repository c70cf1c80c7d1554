"""What runs a kind of packed model: compiled once for a machine, called, and shipped."""

import os
import shlex
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from stages.engines import safe_l
from stages.engines.runtime.compiling import Build, CannotCompile
from stages.engines.runtime.shipped import classify
from stages.engines.runtime.shipped.classify import COMPILE, LIBRARY, CannotRun, Model
from stages.model.artifact import WEIGHTS
from stages.model.tokens import Batch, unpadded
from stages.plumbing.command import UserError
from stages.plumbing.disk import why_full

SHIPPED = Path(classify.__file__).parent
# As one line in the model card, and with the compiler that this machine prefers.
COMMAND = (*shlex.split(os.environ.get("CXX") or "cc"), *COMPILE.split()[1:])


@dataclass(frozen=True)
class Runtime:
    """What runs one kind of packed model.

    Attributes:
        variant: its name, for messages.
        own: sources beside those in shipped/ and safe_l/; one of them is classify.cpp.
    """

    variant: str
    own: tuple[Path, ...]

    @property
    def sources(self) -> list[Path]:
        """All that is compiled, and an example that calls it."""
        common = [*SHIPPED.glob("*.h"), *SHIPPED.glob("*.c"), *Path(safe_l.__path__[0]).glob("*.h")]
        return sorted([*common, *self.own])

    def library(self) -> Path:
        """The shared library, compiled unless that was done before.

        Raises:
            CannotRun: no compiler, or it failed.
        """
        return library_of(self.build)

    @property
    def build(self) -> Build:
        return Build(self.variant, "runtime", tuple(self.sources), COMMAND, LIBRARY)

    def logits(self, model: Model, batch: Batch, cuts: np.ndarray | None = None) -> np.ndarray:
        """Float32 (texts, outputs), with as many threads as torch has.

        Args:
            cuts: see `Model.raw`.

        Raises:
            UserError: see `unpadded`.
        """
        import torch

        starts, flat = unpadded(batch, self.variant)
        ids, types = flat["input_ids"], flat.get("token_type_ids")
        return model.logits(ids, starts, types, torch.get_num_threads(), cuts)

    def ship(self, artifact: Path, folder: Path) -> str:
        """Copy weights, library, sources and what calls it; returns the name of the weights.

        Raises:
            UserError: nothing compiles here.
        """
        try:
            shutil.copyfile(self.library(), folder / LIBRARY)
        except CannotRun as reason:
            raise UserError(
                f"{self.variant} ships with its runtime, and {reason}; install a C++ compiler"
            ) from None
        shutil.copyfile(artifact / WEIGHTS, folder / WEIGHTS)
        for source in (*self.sources, Path(classify.__file__)):
            shutil.copyfile(source, folder / source.name)
        return WEIGHTS


@cache
def library_of(build: Build) -> Path:
    try:
        return build.made()
    except CannotCompile as reason:
        if why_full(reason):  # which is no property of this machine, to go without
            raise
        raise CannotRun(str(reason)) from None
