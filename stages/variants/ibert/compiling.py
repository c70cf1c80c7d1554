"""Compiling the runtime, once for a machine."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from stages.engines import safe_l
from stages.variants.ibert.runtime import classify

HERE = Path(__file__).parent
MAIN = HERE / "runtime" / "classify.cpp"
TWIN = HERE / "c99" / "ibert.c"
# All that is compiled, and what ships beside the library.
SOURCES = sorted(
    [
        *(HERE / "runtime").glob("*.h"),
        MAIN,
        HERE / "runtime" / "example.c",
        *(HERE / "c99").glob("ibert.*"),
        *Path(safe_l.__path__[0]).glob("*.h"),
    ]
)
COMPILER = os.environ.get("CXX") or "c++"


@cache
def library() -> Path:
    """The shared library, compiled unless that was done before.

    Raises:
        CannotRun: no compiler, or it failed.
    """
    command = [COMPILER, *classify.COMPILE.split()[1:]]
    key = hashlib.sha256(" ".join(command).encode())
    for source in SOURCES:
        key.update(source.name.encode() + source.read_bytes())
    target = cache_folder() / f"{key.hexdigest()[:32]}-{classify.LIBRARY}"
    if target.exists():
        return target
    print("ibert: compiling the runtime, once for this machine", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            for source in SOURCES:
                shutil.copy(source, scratch)
            done = subprocess.run(command, capture_output=True, text=True, cwd=scratch)
            if done.returncode:
                raise classify.CannotRun(f"the runtime does not compile: {first_error(done)}")
            # Two that compile at once write the same file.
            (Path(scratch) / classify.LIBRARY).replace(target)
    except OSError as error:
        raise classify.CannotRun(f"the runtime cannot be compiled: {error}") from None
    return target


def first_error(done: subprocess.CompletedProcess[str]) -> str:
    lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
    return next((line for line in lines if "error" in line), lines[0])[:200]


def cache_folder() -> Path:
    """Ours alone: what lies there is run."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "ibert"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
