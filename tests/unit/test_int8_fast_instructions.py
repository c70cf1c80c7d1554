"""How many instructions one small layer takes: a regression that no noise can hide.

Counted by callgrind in `forward` of tests/native/int8_linear.cpp (20 x 320 times 320 x 72, S = 8,
GELU, AVX2), where nothing depends on the machine; it does on the compiler, so that is noted.
To renew the numbers after a change that is meant:

    python -m tests.unit.test_int8_fast_instructions
"""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from stages.plumbing.files import write_json
from tests.unit.test_int8_fast_memory import AS_SHIPPED, compiled

COMMITTED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.03
NEEDED = [name for name in ("g++", "valgrind") if shutil.which(name) is None]


def compiler() -> str:
    """Kind and major version."""
    done = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True)
    kind = "clang" if "clang" in done.stdout else "gcc"
    version = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True)
    return f"{kind} {version.stdout.split('.')[0].strip()}"


def count(folder: Path) -> int:
    """Instructions in `forward` and all that it calls."""
    driver, out = compiled(folder / "driver", AS_SHIPPED), folder / "callgrind.out"
    command = ["valgrind", "--tool=callgrind", "--toggle-collect=forward"]
    command += [f"--callgrind-out-file={out}", str(driver), "forward"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    total = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
    assert total, "callgrind wrote no total"
    return int(total[1])


@pytest.mark.skipif(bool(NEEDED), reason=f"needs {' and '.join(NEEDED)}")
def test_instructions_of_one_small_layer(tmp_path: Path) -> None:
    committed = json.loads(COMMITTED.read_text())
    if compiler() != committed["compiler"]:
        pytest.skip(f"counted with {committed['compiler']}; here is {compiler()}")
    now, expected = count(tmp_path), committed["instructions"]
    assert abs(now / expected - 1) <= TOLERANCE, (
        f"{now} instructions, {100 * (now / expected - 1):+.1f} % of {expected}; if that is "
        "meant, run 'python -m tests.unit.test_int8_fast_instructions' and commit instructions.json"
    )


def renew() -> None:
    with tempfile.TemporaryDirectory() as folder:
        number = count(Path(folder))
    write_json(COMMITTED, {"compiler": compiler(), "instructions": number})
    print(f"{COMMITTED.name}: {number} instructions with {compiler()}")


if __name__ == "__main__":
    renew()
