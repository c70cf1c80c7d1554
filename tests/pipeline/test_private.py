"""What stages write goes to git, to a remote, to a customer: whose machine it was is not in it."""

import os
import shutil
from pathlib import Path

from tests.pipeline.conftest import NAME, SAID, TOKEN, Repo

WRITTEN = ("data", "metrics", "models", "reports", "exports")


def files_of(repo: Repo) -> list[Path]:
    return [path for root in WRITTEN for path in (repo.folder / root).rglob("*")]


def named_in(files: list[Path], said: str, private: list[str]) -> list[tuple[str, str]]:
    contents = {path.name: path.read_bytes() for path in files if path.is_file()}
    contents["what it printed"] = said.encode()
    return [
        (name, word)
        for name, content in contents.items()
        for word in private
        if word.encode() in content
    ]


def test_neither_home_nor_name_nor_token_nor_folder_is_written(finished: Repo) -> None:
    files, said = files_of(finished), (finished.folder.parent / SAID).read_text()
    assert len(files) > 50
    assert named_in(files, said, [str(finished.folder), NAME, TOKEN]) == []


def test_nor_is_the_home_that_a_model_lies_in(repo: Repo, tmp_path: Path) -> None:
    home = tmp_path / NAME
    shutil.copytree(repo.folder / "tiny-bert", home / "model")
    model = {"finetune": {"mrpc": {"model": "~/model", "max_steps": 2}}}
    repo.set_params(model)
    of_jane = repo.with_environment({"HOME": str(home), "USER": NAME})
    said = of_jane.stage("environment")
    said += of_jane.stage("finetune", "mrpc", "42")
    repo.set_params({"finetune": {"mrpc": {"model": str(home / "model")}}})
    said += of_jane.stage("environment")
    assert named_in(files_of(repo), said, [str(tmp_path), NAME]) == []


def test_every_file_has_one_mode(finished: Repo) -> None:
    """But for what DVC has linked to its cache, which it may make read-only."""
    mask = os.umask(0o022)
    os.umask(mask)
    whole = {path for path in files_of(finished) if not path.is_symlink()}
    modes = {oct(path.stat().st_mode & 0o777) for path in whole if path.is_file()}
    assert modes <= {oct(0o666 & ~mask), oct(0o777 & ~mask), oct(0o444)}
    folders = {oct(path.stat().st_mode & 0o777) for path in whole if path.is_dir()}
    assert folders == {oct(0o777 & ~mask)}
