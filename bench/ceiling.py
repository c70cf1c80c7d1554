"""The physical limit of one core, measured by register-only loops (ceiling.cpp)."""

import ctypes
import json
import sys
import time

from bench.compiler import compiled
from bench.isa import Isa, choose
from stages.model import cpu

LOOPS = ("fp32", "int8_widened_at_once", "int8_16_products")
# A shared machine may be slow for seconds, and a ceiling that is too low flatters whoever is timed.
TURNS, PAUSE_S = 20, 0.5


def measure(isa: Isa) -> dict[str, float]:
    """Billions of operations per second of one core.

    Keys: `fp32` (fused multiply-add); `int8_widened_at_once`, which is the wall that libraries
    without VNNI meet; `int8_16_products`, added up in int16 before they are widened;
    `int8_vnni`, only where `isa` shows it.

    Raises:
        NoCompiler: see compiler.py.
    """
    library = compiled("ceiling.cpp", "-mavx2", "-mfma")
    names = [*LOOPS, "int8_vnni"] if isa.vnni and cpu.has_avx512_vnni() else LOOPS
    result = dict.fromkeys(names, 0.0)
    for turn in range(TURNS):
        for name in names:
            loop = getattr(library, f"{name}_gops")
            loop.restype = ctypes.c_double
            result[name] = max(result[name], round(loop(), 1))
        time.sleep(PAUSE_S if turn < TURNS - 1 else 0)
    return result


def int8_ceiling(ceilings: dict[str, float]) -> float:
    """The highest that int8 can reach here."""
    return max(value for name, value in ceilings.items() if name.startswith("int8"))


if __name__ == "__main__":
    print(json.dumps(measure(choose(sys.argv[1]))))
