"""What DVC cannot see: the user's own files and a model in a local folder."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.fingerprint import fingerprint
from stages.plumbing.command import UserError
from tests.own_file import WHOLE, written
from tests.unit.test_csv_stage import project, set_params

__all__ = ["project"]  # a fixture
FILE = Path("metrics/own/fingerprint.json")


def changed(change: Callable[[], object]) -> bool:
    fingerprint("own")
    before = FILE.read_bytes()
    change()
    fingerprint("own")
    return FILE.read_bytes() != before


@pytest.fixture
def files(project: Path) -> Path:
    """Train and test with the same name in two folders, and a local model."""
    for folder in ("one", "two", "model"):
        (project / folder).mkdir()
    written(project / "one/own.csv", WHOLE)
    written(project / "two/own.csv", WHOLE)
    written(project / "model/config.json", "{}")
    own = {"train": "one/own.csv", "test": "two/own.csv"}
    set_params(project, {"csv": {"own": own}, "finetune": {"own": {"model": "model"}}})
    return project


def test_the_same_files_give_the_same_bytes_without_any_path(files: Path) -> None:
    assert not changed(lambda: None)
    assert str(files) not in FILE.read_text()


@pytest.mark.parametrize("name", ["one/own.csv", "two/own.csv", "model/config.json"])
def test_a_change_of_any_of_them_is_seen(files: Path, name: str) -> None:
    assert changed(lambda: (files / name).write_text(f"{(files / name).read_text()} "))


def test_other_settings_of_the_entry_are_seen_and_those_of_another_task_are_not(
    files: Path,
) -> None:
    own = {"train": "one/own.csv", "test": "two/own.csv"}
    base = {"csv": {"own": own}, "finetune": {"own": {"model": "model"}}}
    other = {"csv": {"other": {**own, "text": "a", "label": "b", "metric": "f1"}}}
    assert not changed(lambda: set_params(files, {**base, "csv": {**base["csv"], **other["csv"]}}))
    assert changed(lambda: set_params(files, {**base, "csv": {"own": {**own, "quote": ""}}}))


def test_files_that_are_gone_keep_what_was_known_of_them(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave() -> None:
        for name in ("one", "two", "model"):
            shutil.rmtree(files / name)

    assert not changed(leave)
    said = capsys.readouterr().out
    assert "one/own.csv is not here; what was built from it before stands" in said


def test_files_that_were_never_there_are_an_error(files: Path) -> None:
    (files / "two/own.csv").unlink()
    with pytest.raises(UserError, match=r"two/own.csv does not exist"):
        fingerprint("own")
    assert not FILE.exists()
