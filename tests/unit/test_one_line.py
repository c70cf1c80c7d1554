"""However a stage ends, it says so in one line, and its exit code says whose turn it is."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from stages.plumbing.command import UserError, one_line, run_stage, whom_to_tell

ROOT = Path(__file__).parents[2]
Ends = Callable[[BaseException], tuple[object, list[str]]]


@pytest.fixture
def ends(capfd: pytest.CaptureFixture[str]) -> Ends:
    """The exit code and the lines on stderr of a stage in which this is raised."""

    def end(raised: BaseException) -> tuple[object, list[str]]:
        with pytest.raises(SystemExit) as exit, one_line("stages.latency"):
            raise raised
        return exit.value.code, capfd.readouterr().err.splitlines()

    return end


def answered(number: int, place: str = "/somewhere/a_file") -> OSError:
    """As the system does."""
    return OSError(number, os.strerror(number), place)


def wrapped(error: BaseException) -> RuntimeError:
    """As libraries do."""
    outer = RuntimeError("a library's own words")
    outer.__cause__ = error
    return outer


# ---- what the user or the machine is the cause of


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (UserError("two\nlines"), "latency: two lines"),
        (answered(errno.EACCES), "/somewhere/a_file cannot be used (Permission denied)"),
        (answered(errno.EROFS), "/somewhere/a_file cannot be used (Read-only file system)"),
        (wrapped(answered(errno.EPERM)), "(Operation not permitted)"),
        (answered(errno.EISDIR), "/somewhere/a_file is a folder, where a file should be"),
        (answered(errno.ENOTDIR), "a file is in the way"),
        (answered(errno.EEXIST), "a file is in the way"),
        (answered(errno.ENAMETOOLONG), "give it a shorter name"),
        (answered(errno.ELOOP), "a symbolic link leads back to itself"),
        (answered(errno.EMFILE), "ulimit -n"),
        (answered(errno.EIO), "see the system's log"),
        (answered(errno.ENOENT, "metrics/mrpc/size/fp32.json"), "whose stage size_report writes"),
        (answered(errno.ENOENT, "data/mrpc/train.parquet"), "whose stage download_glue writes"),
        (MemoryError(), "there is too little memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (ModuleNotFoundError("no", name="onnx"), "this Python lacks the package 'onnx'"),
    ],
)
def test_what_is_not_this_projects_fault_is_one_line_with_what_helps(
    ends: Ends, raised: Exception, expected: str
) -> None:
    code, lines = ends(raised)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("latency: ")
    assert expected in lines[0]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "quota is used up"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (answered(errno.ENOSPC, "/tmp/a_file"), "is full"),
        (wrapped(OSError(errno.ENOSPC, "No space left on device")), "is full"),
        # Of libraries that hand on the text alone.
        (RuntimeError("I/O error: No space left on device (os error 28)"), "is full"),
        (
            RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed"),
            "no more",
        ),
        (RuntimeError("basic_ios::clear: iostream error"), "takes no more"),
        (Exception("cc1plus: fatal error: x.s: No space left on device"), "is full"),
    ],
)
def test_a_full_disk_is_named_with_what_is_free(
    ends: Ends, raised: Exception, expected: str
) -> None:
    code, lines = ends(raised)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith("latency: the disk at /")
    assert "MB free)" in lines[0]
    assert expected in lines[0]


# ---- what is none of it


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("of ours"),
        FileNotFoundError(2, "No such file", "/somewhere/else"),
        ModuleNotFoundError("no", name="stages.nothing"),
    ],
)
def test_a_fault_of_the_project_keeps_its_traceback_and_says_where_to_report_it(
    ends: Ends, raised: Exception
) -> None:
    code, lines = ends(raised)
    assert code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("latency: this is a fault of the project, not yours: report it")


@pytest.mark.parametrize(
    ("origin", "page"),
    [
        ("https://example.org/team/project.git", "https://example.org/team/project/issues"),
        ("git@example.org:team/project.git", "https://example.org/team/project/issues"),
        ("ssh://git@example.org:22/team/project", "https://example.org/team/project/issues"),
        ("/somebodys/folder", "to those who gave it to you"),
        ("", "to those who gave it to you"),
    ],
)
def test_it_is_reported_where_the_project_was_cloned_from(
    origin: str, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: object, **__: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess([], 0 if origin else 2, f"{origin}\n", "")

    monkeypatch.setattr(subprocess, "run", asked)
    assert page in whom_to_tell()


# ---- arguments


def stage_of_two(task: str, seed: str = "42") -> None:
    """Does nothing."""


@pytest.mark.parametrize("arguments", [[], ["mrpc", "42", "fp32"], ["mrpc", "--fast"]])
def test_too_few_and_too_many_arguments_are_one_line_too(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *arguments])
    with pytest.raises(SystemExit) as exit:
        run_stage(stage_of_two)
    lines = capfd.readouterr().err.splitlines()
    assert exit.value.code == 2
    assert len(lines) == 1
    assert "as in 'python -m" in lines[0]


# ---- signals and outputs, of processes

STAGE = """
import subprocess, sys, time
from pathlib import Path
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file, new_folder

def works(what: str) -> None:
    if what == "prints":
        for number in range(100_000):
            print(number)
        return
    with new_folder(Path("out/folder")) as folder, new_file(Path("out/file")) as file:
        (folder / "half").write_text("half")
        file.write_text("half")
        child = subprocess.Popen(["sleep", "60"])
        Path("begun").write_text(str(child.pid))
        time.sleep(60)

if __name__ == "__main__":
    run_stage(works)
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "works.py").write_text(STAGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    return [sys.executable, "-m", "works"]


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        (signal.SIGTERM, 143, "works: ended by SIGTERM; nothing is half written"),
        (signal.SIGHUP, 129, "works: ended by SIGHUP; nothing is half written"),
        (signal.SIGINT, 130, "works: stopped by Ctrl-C; nothing is half written"),
    ],
)
def test_a_signal_removes_what_is_half_written_and_ends_the_children(
    stage: list[str], number: signal.Signals, code: int, expected: str
) -> None:
    running = subprocess.Popen(
        [*stage, "waits"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Whoever runs the tests in the background has it ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not (Path("begun").exists() and Path("begun").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    # A terminal sends Ctrl-C to all of them, whoever ends a process the other two to it alone.
    send = os.killpg if number == signal.SIGINT else os.kill
    send(running.pid, number)
    _, said = running.communicate(timeout=30)
    assert running.returncode == code
    assert len(said.splitlines()) == 1
    assert said.startswith(expected)
    assert list(Path("out").iterdir()) == []
    assert not psutil.pid_exists(int(Path("begun").read_text()))


def test_a_closed_output_is_one_line(stage: list[str]) -> None:
    running = subprocess.Popen(
        [*stage, "prints"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.readline()
    running.stdout.close()
    said = running.stderr.read()
    assert running.wait() == 2
    assert said.splitlines() == [
        "works: what reads the output has closed it, as '| head' does; write it to a file instead"
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_output_is_one_line(stage: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*stage, "prints"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "works: the output cannot be written (No space left on device)"
    ]


def test_a_terminal_that_lacks_a_character_gets_its_number(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from stages.plumbing.command import one_line\n"
         "with one_line('stages.latency'):\n    print('\\u8bc4')"],
        cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "\\u8bc4\n")
