"""torch.ops.int8_fast, compiled at first use: what TorchScript needs, and tests look into."""

import os
import shlex
from functools import cache
from pathlib import Path

from stages.engines import safe_l
from stages.engines.runtime.compiling import Build, CannotCompile
from stages.engines.runtime.library import SHIPPED
from stages.engines.runtime.shipped.classify import CannotRun
from stages.plumbing.disk import why_full

SOURCE = Path(__file__).with_name("kernel.cpp")
# Of kernel.cpp: those of the runtime that it has no part in are left out.
HEADERS = sorted(
    [
        *(path for path in SOURCE.parent.glob("*.h") if path.name != "view.h"),
        *Path(safe_l.__path__[0]).glob("*.h"),
        SHIPPED / "block.h",
    ]
)
# Hidden: nobody links against it, and what nobody can replace is called directly, or inlined.
FLAGS = ("-O3", "-mavx2", "-mfma", "-fopenmp", "-fvisibility=hidden")
LIBRARY = "operators.so"


@cache
def load() -> None:
    """Compile kernel.cpp, unless that was done before, and register torch.ops.int8_fast.

    Raises:
        CannotRun: no compiler, or it failed, or nothing can be written or loaded there.
    """
    import torch

    try:
        torch.ops.load_library(str(build().made()))
    except CannotCompile as reason:
        if why_full(reason):  # which is no property of this machine, to go without
            raise
        raise CannotRun(str(reason)) from None
    except (RuntimeError, OSError) as error:
        said = str(error).strip().split("\n")[0][:200]
        raise CannotRun(f"the operators cannot be loaded ({said})") from None


def build() -> Build:
    return Build("int8_fast", "operators", (SOURCE, *HEADERS), command(), LIBRARY)


def command() -> tuple[str, ...]:
    """Another one for any other torch, too: its folder holds its headers, its version is named.

    load_kernel.py has the same, for exports.
    """
    import torch
    from torch.utils import cpp_extension

    folders = (flag for folder in cpp_extension.include_paths() for flag in ("-isystem", folder))
    return (
        *shlex.split(os.environ.get("CXX") or "c++"),
        "-std=c++20",
        *FLAGS,
        "-shared",
        "-fPIC",
        f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}",
        f'-DCOMPILED_FOR_TORCH="{torch.__version__}"',
        *folders,
        SOURCE.name,
        *(f"-L{folder}" for folder in cpp_extension.library_paths()),
        *("-ltorch_cpu", "-lc10"),  # which `import torch` has loaded by then
        "-o",
        LIBRARY,
    )
