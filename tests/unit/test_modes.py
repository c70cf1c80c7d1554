"""Whatever library wrote a file: it has the mode that the umask leaves, and no other."""

import tempfile
from pathlib import Path

import pytest

from stages.plumbing import modes
from stages.plumbing.files import new_file, new_folder, write_json


def mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


@pytest.fixture(autouse=True)
def umask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "UMASK", 0o022)


def test_files_and_folders_have_one_mode(tmp_path: Path) -> None:
    with new_folder(tmp_path / "folder") as folder:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:  # for its owner alone
            Path(file.name).rename(folder / "of_a_library")
        (folder / "for_all").touch()
        (folder / "for_all").chmod(0o666)
        (folder / "program").touch()
        (folder / "program").chmod(0o700)
        (folder / "inside").mkdir(mode=0o700)
    found = {path.name: mode(path) for path in (tmp_path / "folder").iterdir()}
    assert found == {
        "of_a_library": "0o644", "for_all": "0o644", "program": "0o755", "inside": "0o755"
    }  # fmt: skip
    assert mode(tmp_path / "folder") == "0o755"


def test_a_single_file_has_it_too(tmp_path: Path) -> None:
    with new_file(tmp_path / "file") as partial:
        partial.touch(mode=0o600)
    assert mode(tmp_path / "file") == "0o644"


def test_what_the_umask_takes_stays_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "UMASK", 0o027)
    write_json(tmp_path / "file.json", {})
    assert mode(tmp_path / "file.json") == "0o640"
