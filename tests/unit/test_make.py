"""The Makefile: what a user gives arrives as it was typed, and no shell reads it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
EVIL = ["$(touch X)", "`touch X`", '"; touch X; "', "$HOME/a b.csv", "$$(touch X)", "a'b", "#x"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose Python says what it was started with, an argument a line."""
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    binaries = tmp_path / ".venv/bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@" > said\n')
    (binaries / "python").chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv/ready").touch()
    return tmp_path


def make(project: Path, *words: str, **variables: str) -> list[str]:
    command = ["make", "--silent", *words]
    subprocess.run(command, cwd=project, env=os.environ | variables, check=True, timeout=20)
    assert not (project / "X").exists()
    return (project / "said").read_text().splitlines()


@pytest.mark.parametrize("given", EVIL)
@pytest.mark.parametrize("word", ["MODEL", "DATA", "LABELS", "QUOTE"])
def test_check_gets_what_was_typed(word: str, given: str, project: Path) -> None:
    assert given in make(project, "check", f"{word}={given}")
    assert given in make(project, "check", **{word: given})


@pytest.mark.parametrize("given", EVIL)
def test_so_do_push_pull_and_the_other_tools(given: str, project: Path) -> None:
    assert make(project, "push", f"REMOTE={given}")[-1] == given
    assert make(project, "pull", f"REMOTE={given}")[-1] == given
    assert make(project, "other-tools", f"DATA={given}")[-1] == given


@pytest.mark.parametrize("name", ["quick", "..", "$(touch X)", "`touch X`", "';touch X"])
def test_so_does_a_preset(name: str, project: Path) -> None:
    assert make(project, f"preset-{name}")[-1] == name


def test_what_is_not_given_is_empty(project: Path) -> None:
    words = make(project, "check", "MODEL=m", "DATA=d")
    assert words[:5] == ["-m", "stages.commands.check", "--", "m", "d"]
    assert set(words[5:]) == {""}
