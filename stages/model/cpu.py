"""What the CPU can do, asked in one place: it decides the speed of int8, and its answers too."""

import os
import platform
from functools import cache
from pathlib import Path

X86 = ("x86_64", "amd64", "i386", "i686")


def cpuinfo(key: str) -> str:
    """The first value of `key` in Linux's /proc/cpuinfo; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return ""


@cache
def flags() -> frozenset[str]:
    """Extensions of the instruction set, by Linux's names; elsewhere those that torch can tell."""
    if known := cpuinfo("flags"):
        return frozenset(known.split())
    import torch

    asked = {
        "avx2": torch.cpu._is_avx2_supported,
        "avx512bw": torch.cpu._is_avx512_supported,
        "avx512vl": torch.cpu._is_avx512_supported,
        "avx512_vnni": torch.cpu._is_vnni_supported,
        "amx_tile": torch.cpu._is_amx_tile_supported,
        "amx_int8": torch.cpu._is_amx_tile_supported,
    }
    return frozenset(name for name, answer in asked.items() if answer())


def is_x86() -> bool:
    return platform.machine().lower() in X86


def has_avx2() -> bool:
    return "avx2" in flags()


def has_vnni() -> bool:
    """Whether int8 products are added up in int32, by AVX512-VNNI or AVX-VNNI."""
    return bool({"avx512_vnni", "avx_vnni"} & flags())


def has_avx512_vnni() -> bool:
    return {"avx512_vnni", "avx512bw", "avx512vl"} <= flags()


def has_amx_int8() -> bool:
    return {"amx_tile", "amx_int8"} <= flags() and has_avx512_vnni()


def int8_kernel() -> str:
    """Which of our int8 kernels an x86 CPU with AVX2 runs fastest (stages/engines/safe_l/)."""
    if has_amx_int8():
        return "amx"
    return "vnni" if has_avx512_vnni() else "avx2"


def int8_overflows() -> bool:
    """Whether products of 8-bit activations and signed 8-bit weights overflow here.

    x86 without VNNI adds two of them in an int16: 2 * 255 * 127 > 32767. With 7-bit weights
    (`reduce_range`) they fit.
    """
    return is_x86() and not has_vnni()


def instruction_set() -> str:
    """What torch's kernels use (`avx512`, `avx2`, `default`), with `+vnni` where there is one."""
    return f"{capability()}+vnni" if has_vnni() else capability()


def capability() -> str:
    """torch.backends.cpu.get_cpu_capability(), in lower case.

    On Linux and x86 without importing torch, which takes longer than the rest of the stage that
    always runs; by the rules of aten/src/ATen/native/DispatchStub.cpp.
    """
    if not (is_x86() and cpuinfo("flags")):
        import torch

        return str(torch.backends.cpu.get_cpu_capability()).lower()
    forced = os.environ.get("ATEN_CPU_CAPABILITY", "")
    if forced in ("avx512", "avx2", "default"):
        return forced
    if {"avx512vl", "avx512bw", "avx512dq", "fma"} <= flags():
        return "avx512"
    return "avx2" if {"avx2", "fma"} <= flags() else "default"
