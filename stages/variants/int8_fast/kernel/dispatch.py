"""Which kernel multiplies on this CPU, and building ours at first use."""

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from filelock import FileLock

from stages.engines import safe_l
from stages.model import cpu
from stages.plumbing.command import UserError, nearest

# The one kernel to use, for tests and for whoever does not trust the choice.
FORCED = "INT8_FAST_KERNEL"
# Instruction sets of our kernel (safe_l/dictionary.h), or library: torch's own products.
KERNELS = ("avx2", "vnni", "amx", "library")
SOURCE = Path(__file__).with_name("kernel.cpp")
HEADERS = sorted([*SOURCE.parent.glob("*.h"), *Path(safe_l.__path__[0]).glob("*.h")])
# Hidden: nobody links against it, and what nobody can replace is called directly, or inlined.
FLAGS = ["-O3", "-mavx2", "-mfma", "-fopenmp", "-fvisibility=hidden"]


class KernelUnavailable(Exception):
    """Our kernel cannot run here; the message says why."""


@cache
def choose_kernel() -> str:
    """One of KERNELS, loaded and ready; a line says so where it is the library's.

    Raises:
        UserError: the kernel that INT8_FAST_KERNEL forces does not exist or cannot run here.
    """
    forced = os.environ.get(FORCED, "")
    if forced and forced not in KERNELS:
        raise UserError(f"{FORCED}={forced} names no kernel; {nearest(forced, list(KERNELS))}")
    if forced == "library":
        return forced
    try:
        best = best_for_cpu()
        if forced == "vnni" and not cpu.has_avx512_vnni():
            raise KernelUnavailable("this CPU has no AVX512-VNNI")
        if forced == "amx" and not cpu.has_amx_int8():
            raise KernelUnavailable("this CPU has no AMX-INT8")
        load_ours()
    except KernelUnavailable as reason:
        if forced:
            raise UserError(f"{FORCED}={forced} cannot run here: {reason}") from None
        print(f"int8_fast: {reason}; torch's own int8 products are used", file=sys.stderr)
        return "library"
    return forced or best


def best_for_cpu() -> str:
    """The fastest of our kernels that this CPU has the instructions for.

    Raises:
        KernelUnavailable: none.
    """
    if not cpu.is_x86():
        raise KernelUnavailable(f"the kernel is for x86 CPUs, not for {platform.machine()}")
    if not cpu.has_avx2():
        raise KernelUnavailable("this CPU has no AVX2")
    return cpu.int8_kernel()


@cache
def load_ours() -> None:
    """Compile kernel.cpp, unless that was done before, and register torch.ops.int8_fast.

    What was compiled is kept where torch keeps extensions (TORCH_EXTENSIONS_DIR).

    Raises:
        KernelUnavailable: no compiler, or it failed, or nothing can be written or loaded there.
    """
    import torch
    from torch.utils import cpp_extension

    name = build_name()
    try:
        folder = Path(cpp_extension._get_build_directory(name, False))
        complete = folder / "complete"
        if not complete.exists():
            # torch waits for ever for a builder that was killed; this lock ends with its process.
            with FileLock(folder.with_suffix(".lock")):
                if not complete.exists():
                    compile_into(folder, name)
                    complete.touch()
        torch.ops.load_library(str(folder / f"{name}.so"))
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise KernelUnavailable(f"the kernel could not be compiled ({reason})") from None


def build_name() -> str:
    """Another one for any other source, header, flag, torch or Python."""
    import torch

    key = hashlib.sha256(f"{FLAGS} {torch.__version__} {sys.version_info[:2]}".encode())
    for path in [*HEADERS, SOURCE]:
        key.update(path.read_bytes())
    return f"int8_fast_{key.hexdigest()[:16]}"


def compile_into(folder: Path, name: str) -> None:
    """Raises RuntimeError, OSError or SubprocessError."""
    from torch.utils import cpp_extension

    before = os.environ.get("PATH", "")
    # Where pip puts ninja, which is not in PATH where .venv was not activated.
    os.environ["PATH"] = f"{before}{os.pathsep}{Path(sys.executable).parent}"
    try:
        cpp_extension.verify_ninja_availability()
        compiler = shlex.split(cpp_extension.get_cxx_compiler()) or [""]
        subprocess.run([*compiler, "--version"], check=True, capture_output=True)
        print("int8_fast: compiling the kernel, once for this machine", file=sys.stderr)
        (folder / "lock").unlink(missing_ok=True)
        cpp_extension.load(
            name,
            [str(SOURCE)],
            extra_cflags=FLAGS,
            extra_ldflags=["-fopenmp"],
            extra_include_paths=safe_l.__path__,
            build_directory=str(folder),
            is_python_module=False,
        )
    finally:
        os.environ["PATH"] = before
