"""Compile one C++ file of this folder into a shared library, once per content."""

import ctypes
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from stages.plumbing.files import new_file

HERE = Path(__file__).parent
CACHE = Path(".bench") / "compiled"


class NoCompiler(Exception):
    """There is no g++, or it refused; the message says which."""


def compiled(name: str, *flags: str, cache: Path = CACHE) -> ctypes.CDLL:
    """The library made of `bench/<name>`.

    Raises:
        NoCompiler: g++ is missing or failed.
    """
    source = HERE / name
    compiler = os.environ.get("CXX") or shutil.which("g++")
    if not compiler:
        raise NoCompiler("no g++ on this machine (set CXX to another compiler)")
    command = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", *flags]
    mark = hashlib.sha256(source.read_bytes() + " ".join(command).encode()).hexdigest()[:16]
    target = cache.absolute() / f"{source.stem}-{mark}.so"
    if not target.exists():
        with new_file(target) as partial:
            done = subprocess.run(
                [*command, "-o", str(partial), str(source)], capture_output=True, text=True
            )
            if done.returncode:
                raise NoCompiler(f"{compiler} refused {name}: {done.stderr.strip()[:300]}")
    return ctypes.CDLL(str(target))
