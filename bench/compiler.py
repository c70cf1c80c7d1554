"""One C++ file of this folder as a shared library, compiled once per content and compiler."""

import ctypes
import os
import shlex
from pathlib import Path

from stages.engines.runtime.compiling import Build, CannotCompile

HERE = Path(__file__).parent


class NoCompiler(Exception):
    """There is no g++, or it refused; the message says which."""


def compiled(name: str, *flags: str) -> ctypes.CDLL:
    """The library made of `bench/<name>`.

    Raises:
        NoCompiler: g++ is missing or failed.
    """
    library = f"{Path(name).stem}.so"
    compiler = shlex.split(os.environ.get("CXX") or "g++")
    command = (*compiler, "-std=c++17", "-O2", "-shared", "-fPIC", *flags, "-o", library, name)
    try:
        made = Build("bertquant_bench", name, (HERE / name,), command, library).made()
    except CannotCompile as error:
        raise NoCompiler(f"{error} (CXX names another compiler)") from None
    return ctypes.CDLL(str(made))
