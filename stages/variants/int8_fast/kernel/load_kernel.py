"""Compile the kernel that lies beside this file, once, so that torch.jit.load knows its operators.

Needs an x86 CPU with AVX2, a C++ compiler, and the packages torch and ninja.
"""

from pathlib import Path

import torch
from torch.utils.cpp_extension import load

if not hasattr(torch.ops.int8_fast, "add_norm_"):
    load(
        "int8_fast",
        [str(Path(__file__).with_name("kernel.cpp"))],
        extra_cflags=["-O3", "-mavx2", "-mfma", "-fopenmp", "-fvisibility=hidden"],
        extra_ldflags=["-fopenmp"],
        is_python_module=False,
    )
