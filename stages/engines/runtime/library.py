"""What runs a kind of packed model: compiled once for a machine, called, and shipped."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from stages.engines import safe_l
from stages.engines.runtime.shipped import classify
from stages.engines.runtime.shipped.classify import COMPILE, LIBRARY, CannotRun, Model
from stages.model.artifact import WEIGHTS
from stages.model.tokens import Batch, unpadded
from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.plumbing.paths import of_user

SHIPPED = Path(classify.__file__).parent
COMPILER = os.environ.get("CXX") or "cc"


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
        return compiled(self)

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
        for source in (*self.sources, *SHIPPED.glob("[a-z]*.py")):
            shutil.copyfile(source, folder / source.name)
        return WEIGHTS


COMMAND = [COMPILER, *COMPILE.split()[1:]]


@cache
def compiled(runtime: Runtime) -> Path:
    try:
        target = target_of(runtime)
        if whole(target):
            return target
        print(f"{runtime.variant}: compiling the runtime, once for this machine", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            for source in runtime.sources:
                shutil.copy(source, scratch)
            done = subprocess.run(COMMAND, capture_output=True, text=True, cwd=scratch)
            if done.returncode:
                raise CannotRun(f"the runtime does not compile: {first_error(done)}")
            # Two that compile at once write the same files.
            built, mark = Path(scratch) / LIBRARY, Path(scratch) / "checksum"
            mark.write_text(sha256(built))
            built.replace(target)
            mark.replace(checksum_of(target))
    except OSError as error:
        raise CannotRun(f"the runtime cannot be compiled: {error}") from None
    return target


def target_of(runtime: Runtime) -> Path:
    """Another one for any other source or command."""
    key = hashlib.sha256(" ".join(COMMAND).encode())
    for source in runtime.sources:
        key.update(source.name.encode() + source.read_bytes())
    return cache_folder(runtime.variant) / f"{key.hexdigest()[:32]}-{LIBRARY}"


def checksum_of(target: Path) -> Path:
    return target.with_suffix(".sha256")


def whole(target: Path) -> bool:
    """Whether it is what was compiled here, and all of it."""
    mark = checksum_of(target)
    return target.exists() and mark.exists() and mark.read_text() == sha256(target)


def first_error(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in lines if "error" in line), lines[0])[:200]


def cache_folder(name: str) -> Path:
    """Ours alone, since what lies there is run.

    Raises:
        CannotRun: it belongs to another user, or others may write into it.
    """
    folder = of_user(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022 or folder.is_symlink():
        raise CannotRun(
            f"{folder} is not this user's alone, and what lies there would be run; remove it, or "
            "set XDG_CACHE_HOME to a folder of your own"
        )
    return folder
