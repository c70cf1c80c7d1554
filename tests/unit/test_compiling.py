"""What is compiled once and kept: it is what it says, this user's alone, and never waited for."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.engines.runtime import compiling
from stages.engines.runtime.compiling import Build, CannotCompile, checksum_of

ROOT = Path(compiling.__file__).parents[3]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def compiler(tmp_path: Path) -> Callable[..., Path]:
    """A program that calls itself some version, and "compiles" by what else it is told."""

    def write(version: str = "1", does: str = 'cat thing.c "$1" > thing.so') -> Path:
        file = tmp_path / "compiler"
        file.write_text(
            f'#!/bin/sh\nif [ "$1" = --version ]; then echo {version}; exit; fi\n{does}\n'
        )
        file.chmod(0o755)
        return file

    return write


@pytest.fixture
def build(tmp_path: Path, cache: Path, compiler: Callable[..., Path]) -> Build:
    (tmp_path / "thing.c").write_text("the source\n")
    (tmp_path / "thing.h").write_text("the header\n")
    sources = (tmp_path / "thing.c", tmp_path / "thing.h")
    return Build("tiny", "thing", sources, (str(compiler()), "thing.h"), "thing.so")


def again(build: Build, **changed: object) -> Build:
    return Build(**(vars(build) | changed))


def test_it_is_compiled_once(build: Build, capsys: pytest.CaptureFixture[str]) -> None:
    made = build.made()
    assert made.read_text() == "the source\nthe header\n"
    assert "compiling the thing" in capsys.readouterr().err
    assert build.made() == made
    assert again(build, sources=build.sources[::-1]).made() == made
    assert capsys.readouterr().err == ""
    assert {path.name for path in made.parent.iterdir()} <= {
        made.name,
        checksum_of(made).name,
        "lock",
    }
    assert made.parent.stat().st_mode & 0o777 == 0o700


def test_another_source_command_or_compiler_is_another_build(
    build: Build, compiler: Callable[..., Path]
) -> None:
    made = [build.made(), again(build, command=(*build.command, "-O3")).made()]
    compiler(version="2")
    made.append(build.made())
    build.sources[1].write_text("another header\n")
    made.append(build.made())
    assert len(set(made)) == 4
    assert made[-1].read_text() == "the source\nanother header\n"


@pytest.mark.parametrize("fault", ["half", "altered", "empty mark", "mark of no text", "no mark"])
def test_what_is_not_what_was_compiled_is_compiled_anew(
    fault: str, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    made = build.made()
    content, mark = made.read_bytes(), checksum_of(made)
    if fault == "half":
        made.write_bytes(content[:5])
    elif fault == "altered":
        made.write_bytes(content.upper())
    elif fault == "no mark":
        mark.unlink()
    else:
        mark.write_bytes(b"" if fault == "empty mark" else b"\xff\xfe")
    capsys.readouterr()
    assert build.made().read_bytes() == content
    assert "compiling" in capsys.readouterr().err


def test_without_the_compiler_what_it_made_is_taken_if_it_is_whole(build: Build) -> None:
    made = build.made()
    Path(build.command[0]).unlink()
    assert build.made() == made
    made.write_bytes(b"altered")
    with pytest.raises(CannotCompile, match=r"the thing cannot be compiled: .*compiler"):
        build.made()


def test_a_killed_compiler_keeps_nobody_waiting(
    build: Build, cache: Path, compiler: Callable[..., Path], tmp_path: Path
) -> None:
    compiler(does=f'touch "{tmp_path}/began"; sleep 1000')
    code = (
        "from pathlib import Path\nfrom stages.engines.runtime.compiling import Build\n"
        f"Build('tiny', 'thing', tuple(map(Path, {[*map(str, build.sources)]})), "
        f"{build.command}, 'thing.so').made()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, start_new_session=True)
    while not (tmp_path / "began").exists():
        assert child.poll() is None
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    compiler()
    assert build.made().read_text() == "the source\nthe header\n"
    assert not (cache / "tiny" / "compiling").exists()


def test_a_compiler_that_never_ends_is_ended(
    build: Build, cache: Path, compiler: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "COMPILE_SECONDS", 0.3)
    compiler(does="exec sleep 1000")
    with pytest.raises(CannotCompile, match=r"the thing took over 0\.3 seconds"):
        build.made()
    assert not list((cache / "tiny").glob("*.so"))


def test_a_compiler_that_makes_nothing_is_said(build: Build, compiler: Callable[..., Path]) -> None:
    compiler(does="exit 0")
    with pytest.raises(CannotCompile, match="compiling the thing failed: exit code 0"):
        build.made()


@pytest.mark.parametrize("above", ["everybody's", "another user's"])
def test_a_folder_that_others_could_exchange_is_not_trusted(
    above: str, build: Build, cache: Path
) -> None:
    build.made()
    if above == "everybody's":
        cache.chmod(0o777)
    elif os.geteuid() == 0:
        os.chown(cache, 12345, 12345)
    else:
        pytest.skip("only root can give files away")
    with pytest.raises(CannotCompile, match=f"tiny is not this user's alone, because {cache} is"):
        build.made()
    if above == "everybody's":
        cache.chmod(0o1777)  # as /tmp is
        assert build.made().exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_real_compiler(cache: Path, tmp_path: Path) -> None:
    import ctypes

    (tmp_path / "seven.c").write_text("int seven(void) { return 7; }\n")
    command = ("cc", "-shared", "-fPIC", "seven.c", "-o", "seven.so")
    made = Build("tiny", "seven", (tmp_path / "seven.c",), command, "seven.so").made()
    assert ctypes.CDLL(str(made)).seven() == 7
