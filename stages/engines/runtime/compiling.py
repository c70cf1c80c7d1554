"""Compiling once for a machine, into a folder that is this user's alone; nothing else is trusted.

Needs nothing of this project, so that exports can take it along.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock


class CannotCompile(Exception):
    """Nothing compiles here, or nothing can be kept here; the message says why, in one line."""


@dataclass(frozen=True)
class Build:
    """A shared library and what it is made of.

    Attributes:
        name: of its folder in the cache, and for messages.
        what: it is, for messages.
        sources: copied side by side before they are compiled.
        command: run where the copies lie; writes `library` there.
    """

    name: str
    what: str
    sources: tuple[Path, ...]
    command: tuple[str, ...]
    library: str

    def made(self) -> Path:
        """Where it lies, compiled unless that was done before.

        Raises:
            CannotCompile: no compiler, or it failed, or the cache is not ours alone.
        """
        try:
            target = self.target()
            if not whole(target):
                # Ends with its process, be it killed.
                with FileLock(target.with_name("lock")):
                    if not whole(target):
                        self.compile(target)
        except OSError as error:
            raise CannotCompile(
                f"the {self.what} cannot be compiled: {error}; XDG_CACHE_HOME names the folder "
                "that keeps it, TMPDIR that of the compiler"
            ) from None
        return target

    def target(self) -> Path:
        """Another one for any other source or command.

        Raises:
            CannotCompile, OSError: see `cache_folder`.
        """
        key = hashlib.sha256(" ".join(self.command).encode())
        for source in self.sources:
            key.update(source.name.encode() + source.read_bytes())
        return cache_folder(self.name) / f"{key.hexdigest()[:32]}-{self.library}"

    def compile(self, target: Path) -> None:
        print(f"{self.name}: compiling the {self.what}, once for this machine", file=sys.stderr)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            for source in self.sources:
                (Path(scratch) / source.name).write_bytes(source.read_bytes())
            done = subprocess.run(self.command, capture_output=True, text=True, cwd=scratch)
            if done.returncode:
                log = target.with_suffix(".log")
                log.write_text(f"{' '.join(self.command)}\n{done.stdout}{done.stderr}")
                raise CannotCompile(
                    f"compiling the {self.what} failed: {first_error(done)} (all that the compiler "
                    f"said: {log})"
                )
            built, mark = Path(scratch) / self.library, Path(scratch) / "checksum"
            mark.write_text(sha256(built))
            built.replace(target)
            mark.replace(checksum_of(target))


def checksum_of(target: Path) -> Path:
    return target.with_suffix(".sha256")


def whole(target: Path) -> bool:
    """Whether it is what was compiled here, and all of it."""
    mark = checksum_of(target)
    return target.exists() and mark.exists() and mark.read_text() == sha256(target)


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def first_error(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in lines if "error" in line), lines[0])[:200]


def cache_folder(name: str) -> Path:
    """Ours alone, since what lies there is run.

    Raises:
        CannotCompile: it belongs to another user, or others may write into it.
        OSError: it cannot be made.
    """
    named = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.path.expandvars(named)).expanduser() / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & 0o022 or folder.is_symlink():
        raise CannotCompile(
            f"{folder} is not this user's alone, and what lies there would be run; remove it, or "
            "set XDG_CACHE_HOME to a folder of your own"
        )
    return folder
