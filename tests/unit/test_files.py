"""Safe writing: whatever happens, a name stands for the old thing or the new one, whole."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from stages.plumbing import files
from stages.plumbing.files import new_file, new_folder, write_json, write_text
from stages.plumbing.json_file import read_json

FILES = 20


def fill(folder: Path, text: str) -> None:
    for number in range(FILES):
        (folder / str(number)).write_text(text)


def written(target: Path, text: str) -> None:
    with new_folder(target) as folder:
        fill(folder, text)


def texts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.iterdir())]


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is there, on a system that swaps two names at once and on one that cannot."""
    if not request.param:
        monkeypatch.setattr(files, "exchange", lambda one, other: False)
    written(tmp_path / "target", "old")
    return tmp_path / "target"


def test_a_new_folder_takes_the_place_of_the_old_and_nothing_is_left(target: Path) -> None:
    written(target, "new")
    assert texts(target) == ["new"] * FILES
    assert os.listdir(target.parent) == ["target"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("new", [new_file, new_folder])
def test_what_is_broken_off_leaves_the_old_one_and_nothing_beside_it(
    new: Callable[[Path], AbstractContextManager[Path]],
    error: type[BaseException],
    tmp_path: Path,
) -> None:
    old = tmp_path / "old"
    write_text(old, "old")

    def broken_off() -> None:
        with new(old) as partial:
            (partial if new is new_file else partial / "file").write_text("half")
            raise error

    with pytest.raises(error):
        broken_off()
    assert old.read_text() == "old"
    assert os.listdir(tmp_path) == ["old"]


def test_a_rename_that_fails_leaves_the_old_one(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "exchange", lambda one, other: False)
    real, left = os.replace, [2]

    def replace(one: Path, other: Path) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.EIO, "the disk")
        real(one, other)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="the disk"):
        written(target, "new")
    assert texts(target) == ["old"] * FILES
    assert os.listdir(target.parent) == ["target"]


def test_where_a_kill_came_between_two_renames_the_next_start_brings_the_old_one_back(
    target: Path,
) -> None:
    target.rename(target.with_name("target.0123abcd.old.partial"))
    target.with_name("target.89abcdef.partial").mkdir()
    with pytest.raises(ValueError, match="again"), new_folder(target):
        raise ValueError("again")
    assert texts(target) == ["old"] * FILES
    assert os.listdir(target.parent) == ["target"]


def test_what_killed_processes_left_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in ("a.0123abcd.partial", "b.0123abcd.partial", "a.partial", "a.0123abcd.txt"):
        (tmp_path / name).write_text("")
    write_text(tmp_path / "a", "")
    left = {"a", "b.0123abcd.partial", "a.partial", "a.0123abcd.txt"}
    assert set(os.listdir(tmp_path)) == left


LOOP = """
import sys
from pathlib import Path
from stages.plumbing import files
if sys.argv[2] == "two renames":
    files.exchange = lambda one, other: False
for number in range(100_000):
    with files.new_folder(Path(sys.argv[1])) as folder:
        for each in range(20):
            (folder / str(each)).write_text(str(number))
    print(number, flush=True)
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_killed_at_any_moment_the_folder_is_whole(way: str, tmp_path: Path) -> None:
    target, moments = tmp_path / "out" / "target", random.Random(0)
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", LOOP, str(target), way], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moments.random() / 50)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        whole = target
        if way == "two renames" and not target.exists():  # the only other state
            (whole,) = target.parent.glob("target.*.old.partial")
        assert len(texts(whole)) == FILES
        assert len(set(texts(whole))) == 1
    written(target, "at last")
    assert os.listdir(target.parent) == ["target"]


def test_two_that_write_one_file_end_with_one_of_both(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    values = [{"of": name * 10_000} for name in "ab"]

    def write_often(value: dict[str, str]) -> None:
        for _ in range(20):
            write_json(target, value)

    threads = [threading.Thread(target=write_often, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_json(target) in values
    assert os.listdir(tmp_path) == ["figures.json"]
