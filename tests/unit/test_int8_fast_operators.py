"""Getting torch's operators of int8_fast compiled, whatever the machine lacks."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.variants.int8_fast.kernel import operators

# One layer's answer in a fresh process, or why there is none.
ANSWER = """
import torch
from stages.engines.runtime.shipped.classify import CannotRun
from stages.variants.int8_fast.kernel import operators
from tests.fast_layer import fast_layer
try:
    operators.load()
except CannotRun as reason:
    print(reason)
else:
    weight = (torch.arange(40 * 70) % 31 - 15).view(40, 70).to(torch.int8)
    layer = fast_layer("avx2", weight, torch.full((40,), 0.01), torch.zeros(40))
    print(float(layer(torch.linspace(-1, 1, 210).view(3, 70)).norm()))
"""
COMPILING = "int8_fast: compiling the operators, once for this machine"
ROOT = operators.SOURCE.parents[4]


def started(cache: Path, **environment: str) -> "subprocess.Popen[str]":
    """A process that keeps what it compiles in `cache`."""
    changed = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", ANSWER],
        env=changed | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> tuple[str, list[str]]:
    """What it printed, and the lines on stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip(), err.splitlines()


def answered(cache: Path, **environment: str) -> tuple[str, list[str]]:
    return finished(started(cache, **environment))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which two processes at once compiled, and the answer of both."""
    folder = tmp_path_factory.mktemp("compiled") / "not yet" / "there"  # with a blank
    both = [started(folder) for _ in range(2)]
    (answer, lines), other = (finished(process) for process in both)
    if "cannot be compiled" in answer:
        pytest.skip(answer)
    assert other[0] == answer
    assert sorted([lines, other[1]]) == [[], [COMPILING]]  # the second one waited
    return folder, answer


def without_compiler(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {"PATH": str(folder), "CXX": "", "CC": ""}


def test_what_was_compiled_needs_no_compiler(compiled: tuple[Path, str], tmp_path: Path) -> None:
    folder, answer = compiled
    assert answered(folder, **without_compiler(tmp_path / "bin")) == (answer, [])


@pytest.mark.parametrize("broken", ["none", "fails", "folder is a file"])
def test_without_a_compiler_there_is_one_line(
    compiled: tuple[Path, str], tmp_path: Path, broken: str
) -> None:
    folder, environment = tmp_path / "cache", {"CXX": "false"}
    if broken == "none":
        environment = without_compiler(tmp_path / "bin")
    elif broken == "folder is a file":
        folder.write_text("")
    reason, _ = answered(folder, **environment)
    assert re.match("(the operators cannot be compiled|compiling the operators failed): ", reason)
    assert "\n" not in reason


def test_what_was_compiled_is_loaded_where_nothing_can_be_written(
    compiled: tuple[Path, str], tmp_path: Path
) -> None:
    """Its lock cannot be taken: a folder lies there."""
    folder, answer = compiled
    copy = shutil.copytree(folder, tmp_path / "cache")
    lock = copy / "int8_fast" / "lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()
    assert answered(copy) == (answer, [])


def test_half_a_library_is_never_loaded(compiled: tuple[Path, str], tmp_path: Path) -> None:
    folder, answer = compiled
    killed = shutil.copytree(folder, tmp_path / "cache")
    (library,) = killed.rglob("*.so")
    library.write_bytes(library.read_bytes()[:1000])
    assert answered(killed) == (answer, [COMPILING])


def test_what_the_compiler_said_is_kept(tmp_path: Path) -> None:
    compiler = tmp_path / "my compiler"
    compiler.write_text(
        "#!/bin/sh\necho 'a note' >&2; echo 'kernel.cpp:1: error: why' >&2; exit 1\n"
    )
    compiler.chmod(0o755)
    reason, _ = answered(tmp_path / "cache", CXX=f"'{compiler}' -v")
    (log,) = (tmp_path / "cache").rglob("*.log")
    assert reason.startswith("compiling the operators failed: kernel.cpp:1: error: why")
    assert str(log) in reason
    assert "a note" in log.read_text()


@pytest.mark.parametrize("name", [file.name for file in (operators.SOURCE, *operators.HEADERS)])
def test_another_version_of_any_file_is_another_build(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(operators.SOURCE.parent, tmp_path / "kernel")
    before = operators.build().target()
    monkeypatch.setattr(operators, "SOURCE", folder / "kernel.cpp")
    headers = [shutil.copy(header, folder) for header in operators.HEADERS]
    monkeypatch.setattr(operators, "HEADERS", [Path(header) for header in headers])
    assert operators.build().target() == before
    with (folder / name).open("a") as file:
        file.write("//")
    assert operators.build().target() != before
