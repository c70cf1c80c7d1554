"""Which kernel multiplies, and getting it compiled, whatever the machine lacks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.plumbing.command import UserError
from stages.variants.int8_fast.kernel import dispatch
from tests.unit.conftest import OnCpu

# What a fresh process chooses, and one layer's answer.
ANSWER = """
import torch
from stages.variants.int8_fast.linear import FastLinear
weight = (torch.arange(40 * 70) % 31 - 15).view(40, 70).to(torch.int8)
layer = FastLinear(weight, torch.full((40,), 0.01), torch.zeros(40))
print(layer.kernel, float(layer(torch.linspace(-1, 1, 210).view(3, 70)).norm()))
"""
COMPILING = "int8_fast: compiling the kernel, once for this machine"
LIBRARY = "; torch's own int8 products are used"
ROOT = dispatch.SOURCE.parents[4]


@pytest.fixture(autouse=True)
def _chosen_anew() -> None:
    dispatch.choose_kernel.cache_clear()


def started(extensions: Path, **environment: str) -> "subprocess.Popen[str]":
    """A process that keeps what it compiles in `extensions`."""
    changed = os.environ | {"TORCH_EXTENSIONS_DIR": str(extensions), "PYTHONPATH": str(ROOT)}
    changed.pop(dispatch.FORCED, None)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", ANSWER],
        env=changed | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> tuple[str, float, list[str]]:
    """Kernel, answer and the lines on stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    kernel, answer = out.split()
    return kernel, float(answer), err.splitlines()


def answered(extensions: Path, **environment: str) -> tuple[str, float, list[str]]:
    return finished(started(extensions, **environment))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, float]:
    """A folder in which two processes at once compiled, what was chosen and its answer."""
    folder = tmp_path_factory.mktemp("compiled") / "not" / "yet" / "there"
    both = [started(folder) for _ in range(2)]
    (kernel, answer, lines), other = (finished(process) for process in both)
    if kernel == "library":
        pytest.skip(f"our kernel cannot run here: {lines}")
    assert other[:2] == (kernel, answer)
    assert sorted([lines, other[2]]) == [[], [COMPILING]]  # the second one waited
    return folder, kernel, answer


def without_compiler(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {"PATH": str(folder), "CXX": "", "CC": ""}


def only(folder: Path) -> Path:
    """The one build in `folder`."""
    (build,) = (path for path in folder.iterdir() if path.is_dir())
    return build


@pytest.mark.parametrize("name", ["avx2", "vnni", "amx", "library"])
def test_a_forced_kernel_is_taken_or_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.FORCED, name)
    try:
        assert dispatch.choose_kernel() == name
    except UserError as error:
        refused = str(error)
    else:
        return
    assert f"{dispatch.FORCED}={name} cannot run here: " in refused


def test_an_unknown_kernel_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dispatch.FORCED, "avx512")
    with pytest.raises(UserError, match=r"INT8_FAST_KERNEL=avx512 .*did you mean 'avx2'\?"):
        dispatch.choose_kernel()


@pytest.mark.parametrize(
    ("flags", "kernel"),
    [
        (("avx2",), "avx2"),
        (("avx2", "avx_vnni"), "avx2"),  # of 32 bytes, for which there is no tile
        (("avx2", "avx512_vnni", "avx512bw"), "avx2"),
        (("avx2", "avx512_vnni", "avx512bw", "avx512vl"), "vnni"),
        (("avx2", "avx512_vnni", "avx512bw", "avx512vl", "amx_tile", "amx_int8"), "amx"),
        (("avx2", "amx_tile", "amx_int8"), "avx2"),
    ],
)
def test_the_best_for_each_cpu(flags: tuple[str, ...], kernel: str, on_cpu: OnCpu) -> None:
    on_cpu(*flags)
    assert dispatch.best_for_cpu() == kernel


def test_a_cpu_without_vnni(on_cpu: OnCpu, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu("avx2")
    assert dispatch.choose_kernel() in ("avx2", "library")
    monkeypatch.setenv(dispatch.FORCED, "vnni")
    dispatch.choose_kernel.cache_clear()
    with pytest.raises(UserError, match="cannot run here: this CPU has no AVX512-VNNI"):
        dispatch.choose_kernel()


@pytest.mark.parametrize(
    ("flags", "machine", "reason"),
    [
        (("sse4_2",), "x86_64", "this CPU has no AVX2"),
        (("asimd",), "aarch64", "the kernel is for x86 CPUs, not for aarch64"),
    ],
)
def test_a_cpu_that_the_kernel_cannot_run_on(
    flags: tuple[str, ...],
    machine: str,
    reason: str,
    on_cpu: OnCpu,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    on_cpu(*flags, machine=machine)
    assert dispatch.choose_kernel() == "library"
    assert capsys.readouterr().err.splitlines() == [f"int8_fast: {reason}{LIBRARY}"]
    monkeypatch.setenv(dispatch.FORCED, "avx2")
    dispatch.choose_kernel.cache_clear()
    with pytest.raises(UserError, match=f"cannot run here: {reason}"):
        dispatch.choose_kernel()


def test_what_was_compiled_needs_no_compiler(
    compiled: tuple[Path, str, float], tmp_path: Path
) -> None:
    folder, kernel, answer = compiled
    assert answered(folder, **without_compiler(tmp_path / "bin")) == (kernel, answer, [])


@pytest.mark.parametrize("broken", ["none", "fails", "folder is a file"])
def test_without_a_compiler_the_library_answers_after_one_line(
    compiled: tuple[Path, str, float], tmp_path: Path, broken: str
) -> None:
    folder, environment = tmp_path / "extensions", {"CXX": "false"}
    if broken == "none":
        environment = without_compiler(tmp_path / "bin")
    elif broken == "folder is a file":
        folder.write_text("")
    kernel, answer, lines = answered(folder, **environment)
    assert kernel == "library"
    assert answer == pytest.approx(compiled[2], rel=1e-2)
    assert len(lines) == 1, lines
    assert lines[0].startswith("int8_fast: the kernel could not be compiled (")
    assert lines[0].endswith(LIBRARY)


def test_what_was_compiled_is_loaded_where_nothing_can_be_written(
    compiled: tuple[Path, str, float], tmp_path: Path
) -> None:
    """Its lock cannot be taken: a folder lies there."""
    folder, kernel, answer = compiled
    copy = shutil.copytree(folder, tmp_path / "extensions")
    lock = only(copy).with_suffix(".lock")
    lock.unlink()
    lock.mkdir()
    assert answered(copy) == (kernel, answer, [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    kernel, _, lines = answered(tmp_path / "extensions")
    assert (kernel, len(lines)) == ("library", 1)


def test_a_build_that_was_killed_half_way_is_done_again(
    compiled: tuple[Path, str, float], tmp_path: Path
) -> None:
    """No mark that it is complete, half a library, and torch's own lock, which nobody holds."""
    folder, kernel, answer = compiled
    killed = shutil.copytree(folder, tmp_path / "extensions")
    build = only(killed)
    (build / "complete").unlink()
    (build / "lock").touch()
    (library,) = build.glob("*.so")
    library.write_bytes(library.read_bytes()[:1000])
    os.utime(library, (1, 1))
    assert answered(killed) == (kernel, answer, [COMPILING])


@pytest.mark.parametrize("name", [file.name for file in (dispatch.SOURCE, *dispatch.HEADERS)])
def test_another_version_of_any_file_is_another_build(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(dispatch.SOURCE.parent, tmp_path / "kernel")
    before = dispatch.build_name()
    monkeypatch.setattr(dispatch, "SOURCE", folder / "kernel.cpp")
    headers = [shutil.copy(header, folder) for header in dispatch.HEADERS]
    monkeypatch.setattr(dispatch, "HEADERS", [Path(header) for header in headers])
    assert dispatch.build_name() == before
    with (folder / name).open("a") as file:
        file.write("//")
    assert dispatch.build_name() != before
