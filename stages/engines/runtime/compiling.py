"""Compiling once for a machine, into a folder that is this user's alone; nothing else is trusted.

Needs nothing of this project, so that exports can take it along.
"""

import hashlib
import json
import os
import platform
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

# Of the compiler; who waits for another process to compile waits a little longer.
COMPILE_SECONDS, WAIT_SECONDS = 900, 1000
NOBODY = 65534  # whom a container shows for owners that it does not know
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CannotCompile(RuntimeError):
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
            sources = self.read()
            target = self.target(sources)
            if not whole(target):
                # Ends with its process, be it killed.
                with FileLock(target.with_name("lock"), timeout=WAIT_SECONDS):
                    if not whole(target):
                        self.compile(sources, target)
        except OSError as error:
            raise CannotCompile(
                f"the {self.what} cannot be compiled: {error}; XDG_CACHE_HOME names the folder "
                "that keeps it, TMPDIR that of the compiler"
            ) from None
        return target

    def read(self) -> dict[str, bytes]:
        """Once, so that what is compiled is what the name says."""
        return {source.name: source.read_bytes() for source in self.sources}

    def target(self, sources: dict[str, bytes] | None = None) -> Path:
        """Another one for any other source, command, compiler or kind of machine.

        Where there is no compiler any more, the one that another compiler made of the same.

        Raises:
            CannotCompile, OSError: see `cache_folder`.
        """
        sources = self.read() if sources is None else sources
        contents = {name: sha256(sources[name]) for name in sorted(sources)}
        facts = [self.command, contents, platform.machine(), sys.platform]
        key = sha256(json.dumps(facts).encode())[:32]
        folder, compiler = cache_folder(self.name), compiler_of(self.command[0])
        if not compiler:
            kept = (one for one in folder.glob(f"{key}-*-{self.library}") if whole(one))
            return min(kept, default=folder / f"{key}-none-{self.library}")
        return folder / f"{key}-{sha256(compiler)[:8]}-{self.library}"

    def compile(self, sources: dict[str, bytes], target: Path) -> None:
        print(f"{self.name}: compiling the {self.what}, once for this machine", file=sys.stderr)
        scratch = target.with_name("compiling")  # a killed one is left behind, until the next
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(mode=0o700)
        try:
            for name, content in sources.items():
                (scratch / name).write_bytes(content)
            self.run(scratch, target.with_suffix(".log"))
            built = scratch / self.library
            checksum = sha256(built.read_bytes())
            built.replace(target)
            (scratch / "checksum").write_text(checksum)
            (scratch / "checksum").replace(checksum_of(target))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def run(self, folder: Path, log: Path) -> None:
        try:
            done = subprocess.run(
                self.command, capture_output=True, text=True, cwd=folder, timeout=COMPILE_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise CannotCompile(
                f"compiling the {self.what} took over {COMPILE_SECONDS} seconds and was ended"
            ) from None
        if done.returncode or not (folder / self.library).exists():
            log.write_text(f"{' '.join(self.command)}\n{done.stdout}{done.stderr}")
            raise CannotCompile(
                f"compiling the {self.what} failed: {first_error(done)} (all that the compiler "
                f"said: {log})"
            )


def compiler_of(program: str) -> bytes:
    """Which version of which compiler it is; empty where there is none."""
    found = shutil.which(program)
    if found is None:
        return b""
    said = b""
    try:
        asked = subprocess.run([found, "--version"], capture_output=True, timeout=30)
        said = asked.stdout
    except (OSError, subprocess.TimeoutExpired):
        pass  # compiling will say what is wrong with it
    return os.path.realpath(found).encode() + b"\0" + said


def checksum_of(target: Path) -> Path:
    return target.with_suffix(".sha256")


def whole(target: Path) -> bool:
    """Whether it is what was compiled here, and all of it."""
    try:
        return checksum_of(target).read_bytes() == sha256(target.read_bytes()).encode()
    except FileNotFoundError:
        return False


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def first_error(done: "subprocess.CompletedProcess[str]") -> str:
    lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in lines if "error" in line), lines[0])[:200]


def cache_folder(name: str) -> Path:
    """Ours alone, since what lies there is run.

    Raises:
        CannotCompile: it belongs to another user, or others may write into it, or may put another
            one in its place.
        OSError: it cannot be made.
    """
    named = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.path.expandvars(named)).expanduser().absolute() / name
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if facts.st_uid != os.getuid() or facts.st_mode & WRITABLE_BY_OTHERS or folder.is_symlink():
        raise CannotCompile(f"{folder} is not this user's alone, {OWN}")
    for above in folder.resolve().parents:
        if is_strangers(above.stat()):
            raise CannotCompile(
                f"{folder} is not this user's alone, because {above} is another user's or "
                f"everybody's, {OWN}"
            )
    return folder


OWN = "and what lies there would be run; remove it, or set XDG_CACHE_HOME to a folder of your own"


def is_strangers(facts: os.stat_result) -> bool:
    """Whether others may rename what lies in it. In a sticky folder, as /tmp is, they may not."""
    if facts.st_uid not in (os.getuid(), 0, NOBODY):
        return True
    return bool(facts.st_mode & stat.S_IWOTH) and not facts.st_mode & stat.S_ISVTX
