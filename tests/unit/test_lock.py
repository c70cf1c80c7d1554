"""One process at a time: the second waits and says so; a kill leaves no lock behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from stages.plumbing.lock import is_locked, locked

HOLD = """
import sys, time
from pathlib import Path
from stages.plumbing.lock import locked
with locked(Path(sys.argv[1])):
    print("has it", flush=True)
    time.sleep(float(sys.argv[2]))
"""
COUNT = """
import sys
from pathlib import Path
from stages.plumbing.lock import locked
file = Path(sys.argv[1])
for _ in range(200):
    with locked(file):
        file.write_text(str(int(file.read_text()) + 1))
"""


def holding(target: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(target), str(seconds)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return child


def begun(child: subprocess.Popen[str]) -> subprocess.Popen[str]:
    assert child.stdout is not None
    assert child.stdout.readline() == "has it\n"
    return child


def test_the_second_says_in_one_line_that_it_waits_and_then_goes_on(tmp_path: Path) -> None:
    target = tmp_path / "target"
    first = begun(holding(target, 60))
    assert is_locked(target)
    second = holding(target, 0)
    assert second.stderr is not None
    line = second.stderr.readline()
    assert line == f"{target}: another process is at work on it; waiting\n"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    out, rest = second.communicate(timeout=20)
    assert (out, rest, second.returncode) == ("has it\n", "", 0)
    assert not is_locked(target)
    assert os.listdir(tmp_path) == []


def test_one_lock_does_not_hinder_another_target(tmp_path: Path) -> None:
    first = begun(holding(tmp_path / "one", 60))
    start = time.monotonic()
    with locked(tmp_path / "other"):
        assert time.monotonic() - start < 1
    first.kill()
    first.communicate()


def test_whoever_has_it_may_ask_again(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with locked(target), locked(target):
        assert is_locked(target)
    assert not is_locked(target)


def test_never_two_at_once_though_the_locks_file_comes_and_goes(tmp_path: Path) -> None:
    file = tmp_path / "count"
    file.write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", COUNT, str(file)]) for _ in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    assert file.read_text() == "800"
    assert os.listdir(tmp_path) == ["count"]
