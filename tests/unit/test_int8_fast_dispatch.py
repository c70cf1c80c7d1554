"""Which kernel multiplies, and getting a runtime compiled, whatever the machine lacks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.engines.runtime import library
from stages.plumbing.command import UserError
from stages.variants.int8_fast.kernel import dispatch
from stages.variants.int8_fast.linear import LIBRARY
from tests.unit.conftest import OnCpu

# What a fresh process chooses.
CHOICE = """
from stages.variants.int8_fast.kernel.dispatch import choose_kernel
print(choose_kernel())
"""
COMPILING = "int8_fast: compiling the runtime, once for this machine"
TORCHS_OWN = "; torch's own int8 products are used"
ROOT = dispatch.HERE.parents[3]


@pytest.fixture(autouse=True)
def _chosen_anew() -> None:
    dispatch.choose_kernel.cache_clear()


def started(cache: Path, **environment: str) -> "subprocess.Popen[str]":
    """A process that keeps what it compiles in `cache`."""
    changed = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    changed.pop(dispatch.FORCED, None)
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", CHOICE],
        env=changed | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> tuple[str, list[str]]:
    """Kernel, and the lines on stderr."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.strip(), err.splitlines()


def chosen(cache: Path, **environment: str) -> tuple[str, list[str]]:
    return finished(started(cache, **environment))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which two processes at once compiled, and what was chosen."""
    folder = tmp_path_factory.mktemp("compiled") / "not" / "yet" / "there"
    both = [started(folder) for _ in range(2)]
    (kernel, lines), other = (finished(process) for process in both)
    if kernel == LIBRARY:
        pytest.skip(f"our kernel cannot run here: {lines}")
    assert other[0] == kernel
    assert COMPILING in lines + other[1]
    return folder, kernel


def without_compiler(folder: Path) -> dict[str, str]:
    folder.mkdir()
    return {"PATH": str(folder), "CXX": "", "CC": ""}


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
    assert dispatch.choose_kernel() == LIBRARY
    assert capsys.readouterr().err.splitlines() == [f"int8_fast: {reason}{TORCHS_OWN}"]
    monkeypatch.setenv(dispatch.FORCED, "avx2")
    dispatch.choose_kernel.cache_clear()
    with pytest.raises(UserError, match=f"cannot run here: {reason}"):
        dispatch.choose_kernel()


def test_what_was_compiled_needs_no_compiler(compiled: tuple[Path, str], tmp_path: Path) -> None:
    folder, kernel = compiled
    assert chosen(folder, **without_compiler(tmp_path / "bin")) == (kernel, [])


@pytest.mark.parametrize("broken", ["none", "fails", "folder is a file"])
def test_without_a_compiler_torch_multiplies_after_one_line(
    compiled: tuple[Path, str], tmp_path: Path, broken: str
) -> None:
    folder, environment = tmp_path / "cache", {"CXX": "false"}
    if broken == "none":
        environment = without_compiler(tmp_path / "bin")
    elif broken == "folder is a file":
        folder.write_text("")
    kernel, lines = chosen(folder, **environment)
    assert kernel == LIBRARY
    (line,) = (line for line in lines if line != COMPILING)
    assert line.startswith(("int8_fast: compiling the runtime f", "int8_fast: the runtime cannot"))
    assert line.endswith(TORCHS_OWN)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    kernel, lines = chosen(tmp_path / "cache")
    assert (kernel, len(lines)) == (LIBRARY, 1)


@pytest.mark.parametrize("source", [file.name for file in dispatch.RUNTIME.sources])
def test_another_version_of_any_source_is_another_build(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = {file.name: Path(shutil.copy(file, tmp_path)) for file in dispatch.RUNTIME.sources}
    own = library.Runtime("int8_fast", tuple(copies.values()))
    monkeypatch.setattr(library.Runtime, "sources", property(lambda one: sorted(one.own)))
    before = own.build.target()
    assert library.Runtime("int8_fast", own.own).build.target() == before
    with copies[source].open("a") as file:
        file.write("//")
    assert own.build.target() != before


def test_half_a_library_is_compiled_anew(compiled: tuple[Path, str], tmp_path: Path) -> None:
    folder, kernel = compiled
    copy = shutil.copytree(folder, tmp_path / "cache")
    (built,) = (copy / "int8_fast").glob("*.so")
    built.write_bytes(built.read_bytes()[:1000])
    assert chosen(copy) == (kernel, [COMPILING])
    assert chosen(copy) == (kernel, [])


@pytest.mark.parametrize("what", ["others may write", "another user's", "a link"])
def test_a_folder_that_is_not_ours_alone_is_not_trusted(
    compiled: tuple[Path, str], tmp_path: Path, what: str
) -> None:
    copy = shutil.copytree(compiled[0], tmp_path / "cache")
    planted = copy / "int8_fast"
    if what == "others may write":
        planted.chmod(0o777)
    elif what == "another user's":
        if os.geteuid():
            pytest.skip("only root can give files away")
        os.chown(planted, 12345, 12345)
    else:
        planted.rename(copy / "elsewhere")
        planted.symlink_to(copy / "elsewhere")
    kernel, lines = chosen(copy)
    assert kernel == LIBRARY
    (line,) = lines
    assert "is not this user's alone" in line
    assert line.endswith(TORCHS_OWN)
