"""The kernel's headers touch no byte but their own and do nothing that C++ leaves undefined.

tests/native/int8_linear.cpp compares them with plain loops, over tails of rows, channels, inputs,
texts and heads, every instruction set and every S, with buffers of exactly the size that they must
have. The sanitizers do not see what assembly reads; forbidden pages stop it.
"""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from stages.engines import safe_l
from stages.engines.runtime.library import SHIPPED
from stages.variants.int8_fast.kernel import operators

DRIVER = Path(__file__).parents[1] / "native" / "int8_linear.cpp"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
# Assembly takes each step as a constant, which it is only in loops that are unrolled: -O2.
SANITIZED = ["-O2", "-g", "-mavx2", "-mfma", *SANITIZERS]
AS_SHIPPED = [flag for flag in operators.FLAGS if flag != "-fopenmp"]

pytestmark = pytest.mark.skipif(
    shutil.which("g++") is None or platform.machine() not in ("x86_64", "AMD64"),
    reason="needs g++ and an x86 CPU",
)


def compiled(target: Path, flags: list[str]) -> Path:
    command = [
        "g++",
        "-std=c++17",
        "-Wall",
        *flags,
        f"-I{operators.SOURCE.parent}",
        *(f"-I{folder}" for folder in (*safe_l.__path__, SHIPPED)),
        str(DRIVER),
    ]
    done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True)
    if done.returncode and "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("this g++ comes without sanitizers")
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Under AddressSanitizer and UndefinedBehaviorSanitizer."""
    return compiled(tmp_path_factory.mktemp("native") / "sanitized", SANITIZED)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the flags of operators.py."""
    return compiled(tmp_path_factory.mktemp("native") / "shipped", AS_SHIPPED)


def run(*command: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def test_under_the_sanitizers(sanitized: Path) -> None:
    done = run(sanitized, "heap")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "layers" in done.stdout


def test_the_assembly_between_forbidden_pages(shipped: Path) -> None:
    done = run(shipped, "guarded")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "layers" in done.stdout


def test_one_number_too_many_would_be_seen(sanitized: Path, shipped: Path) -> None:
    """The control: outputs are one number longer than their buffer."""
    seen = run(sanitized, "heap", "short")
    assert seen.returncode != 0
    assert "heap-buffer-overflow" in seen.stderr
    assert run(shipped, "guarded", "short").returncode < 0  # killed: that page may not be touched
