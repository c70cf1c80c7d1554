"""Compile the kernel that lies beside this file, once, so that torch.jit.load knows its operators.

Needs an x86 CPU with AVX2, a C++ compiler, and the package torch. The library is kept in
~/.cache/int8_fast (or $XDG_CACHE_HOME/int8_fast), under the checksum of these sources, which are
compared with manifest.json before anything of them runs.
"""

import hashlib
import json
import os
import shlex
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths, library_paths

HERE, SOURCE, LIBRARY = Path(__file__).parent, "kernel.cpp", "operators.so"
HEADERS = (
    "activations.h",
    "attention.h",
    "block.h",
    "dictionary.h",
    "int8_linear.h",
    "norm.h",
    "tiles.h",
)
COMMAND = (
    *shlex.split(os.environ.get("CXX") or "c++"),
    "-std=c++20",
    *("-O3", "-mavx2", "-mfma", "-fopenmp", "-fvisibility=hidden"),
    "-shared",
    "-fPIC",
    f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
    f'-DCOMPILED_FOR_TORCH="{torch.__version__}"',
    *(flag for folder in include_paths() for flag in ("-isystem", folder)),
    SOURCE,
    *(f"-L{folder}" for folder in library_paths()),
    *("-ltorch_cpu", "-lc10"),
    "-o",
    LIBRARY,
)


def check_unaltered(manifest: Path) -> None:
    """Raises RuntimeError where what will be run is not what was exported."""
    if not manifest.exists():
        return
    checksums = json.loads(manifest.read_text(encoding="utf-8")).get("sha256", {})
    for name in ("compiling.py", SOURCE, *HEADERS):
        content = (HERE / name).read_bytes()
        if name in checksums and hashlib.sha256(content).hexdigest() != checksums[name]:
            raise RuntimeError(f"{HERE / name} is not the one that was exported; copy it anew")


def load() -> None:
    """Raises RuntimeError also where this process runs another export's operators."""
    check_unaltered(HERE / "manifest.json")
    from compiling import Build  # type: ignore[import-not-found]

    sources = tuple(HERE / name for name in (SOURCE, *HEADERS))
    built = Build("int8_fast", "operators", sources, COMMAND, LIBRARY).made()
    library = os.path.realpath(built)
    if library in torch.ops.loaded_libraries:
        return
    if hasattr(torch.ops.int8_fast, "add_norm_"):
        raise RuntimeError(
            "this process has loaded the operators of another export, made of other sources; load "
            f"{HERE} in a process of its own"
        )
    torch.ops.load_library(library)


load()
