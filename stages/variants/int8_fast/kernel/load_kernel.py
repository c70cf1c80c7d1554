"""Compile the kernel that lies beside this file, once, so that torch.jit.load knows its operators.

Needs an x86 CPU with AVX2, a C++ compiler, and the package torch. The library is kept in
~/.cache/int8_fast (or $XDG_CACHE_HOME/int8_fast), under the checksum of these sources.
"""

import os
import shlex
from pathlib import Path

import torch
from compiling import Build  # type: ignore[import-not-found]
from torch.utils.cpp_extension import include_paths, library_paths

HERE, SOURCE, LIBRARY = Path(__file__).parent, "kernel.cpp", "operators.so"
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

if not hasattr(torch.ops.int8_fast, "add_norm_"):
    sources = (HERE / SOURCE, *sorted(HERE.glob("*.h")))
    torch.ops.load_library(str(Build("int8_fast", "operators", sources, COMMAND, LIBRARY).made()))
