"""torch.ops.int8_fast, compiled at first use: what TorchScript needs, and tests look into."""

import hashlib
import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

from filelock import FileLock

from stages.engines import safe_l
from stages.engines.runtime.library import SHIPPED
from stages.engines.runtime.shipped.classify import CannotRun

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
FLAGS = ["-O3", "-mavx2", "-mfma", "-fopenmp", "-fvisibility=hidden"]
FOLDERS = [*safe_l.__path__, str(SHIPPED)]  # of headers


@cache
def load() -> None:
    """Compile kernel.cpp, unless that was done before, and register torch.ops.int8_fast.

    What was compiled is kept where torch keeps extensions (TORCH_EXTENSIONS_DIR).

    Raises:
        CannotRun: no compiler, or it failed, or nothing can be written or loaded there.
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
        raise CannotRun(f"the kernel could not be compiled ({reason})") from None


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
            extra_include_paths=FOLDERS,
            build_directory=str(folder),
            is_python_module=False,
        )
    finally:
        os.environ["PATH"] = before
