"""Which kernel multiplies on this CPU."""

import os
import platform
import sys
from functools import cache
from pathlib import Path

from stages.engines.runtime.library import Runtime
from stages.engines.runtime.shipped.classify import CannotRun
from stages.model import cpu
from stages.plumbing.command import UserError, nearest
from stages.variants.int8_fast.linear import LIBRARY

# The one kernel to use, for tests and for whoever does not trust the choice.
FORCED = "INT8_FAST_KERNEL"
# Instruction sets of our kernel (safe_l/dictionary.h), or torch's own products.
KERNELS = ("avx2", "vnni", "amx", LIBRARY)
HERE = Path(__file__).parent
RUNTIME = Runtime("int8_fast", (*HERE.glob("*.h"), HERE / "classify.cpp"))


@cache
def choose_kernel() -> str:
    """One of KERNELS, its runtime compiled; a line says so where it is the library's.

    Raises:
        UserError: the kernel that INT8_FAST_KERNEL forces does not exist or cannot run here.
    """
    forced = os.environ.get(FORCED, "")
    if forced and forced not in KERNELS:
        raise UserError(f"{FORCED}={forced} names no kernel; {nearest(forced, list(KERNELS))}")
    if forced == LIBRARY:
        return forced
    try:
        best = best_for_cpu()
        if forced == "vnni" and not cpu.has_avx512_vnni():
            raise CannotRun("this CPU has no AVX512-VNNI")
        if forced == "amx" and not cpu.has_amx_int8():
            raise CannotRun("this CPU has no AMX-INT8")
        RUNTIME.library()
    except CannotRun as reason:
        if forced:
            raise UserError(f"{FORCED}={forced} cannot run here: {reason}") from None
        print(f"int8_fast: {reason}; torch's own int8 products are used", file=sys.stderr)
        return LIBRARY
    return forced or best


def best_for_cpu() -> str:
    """The fastest of our kernels that this CPU has the instructions for.

    Raises:
        CannotRun: none.
    """
    if not cpu.is_x86():
        raise CannotRun(f"the kernel is for x86 CPUs, not for {platform.machine()}")
    if not cpu.has_avx2():
        raise CannotRun("this CPU has no AVX2")
    return cpu.int8_kernel()
