"""Zips that somebody else made: what is wrong with one is a line, and it never fills the disk."""

import stat
import zipfile
from pathlib import Path

import pytest

from stages.plumbing.command import UserError
from stages.sources import archive
from stages.sources.archive import copy_all


def test_only_the_files_of_one_folder_come_out_under_their_own_names(tmp_path: Path) -> None:
    file, out = tmp_path / "a.zip", tmp_path / "out"
    out.mkdir()
    with zipfile.ZipFile(file, "w") as made:
        for name in ("T/a.tsv", "T/b.txt", "T/below/c.tsv", "../d.tsv", "/T/e.tsv", "T/..", "T/"):
            made.writestr(name, name)
    copy_all(file, out, "T", lambda name: name.endswith(".tsv"))
    assert {path.name: path.read_text() for path in out.rglob("*")} == {"a.tsv": "T/a.tsv"}
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "out"}


def test_a_zip_that_would_fill_the_disk_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SMALL", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("T/a.tsv", bytes(8 << 20))
    with pytest.raises(UserError, match=r"a\.zip of 0\.0 MB would unpack to 8\.4 MB"):
        copy_all(tmp_path / "a.zip", tmp_path, "T")
    monkeypatch.setattr(archive, "MOST_RATIO", 10_000)
    copy_all(tmp_path / "a.zip", tmp_path, "T")
    monkeypatch.setattr(archive, "MOST_UNPACKED", 1 << 20)
    with pytest.raises(UserError, match="would unpack to"):
        copy_all(tmp_path / "a.zip", tmp_path, "T")
    monkeypatch.setattr(archive, "MOST_MEMBERS", 0)
    with pytest.raises(UserError, match="holds 1 files"):
        copy_all(tmp_path / "a.zip", tmp_path, "T")


def test_a_size_that_lies_unpacks_no_more_than_it_says(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("T/a.tsv", bytes(1_000_003))
    packed = file.read_bytes()
    file.write_bytes(packed.replace((1_000_003).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"a\.zip is not a readable zip"):
        copy_all(file, tmp_path, "T")
    assert (tmp_path / "a.tsv").stat().st_size <= 9


@pytest.mark.parametrize("fault", ["encrypted", "a link", "unknown packing", "no zip", "cut off"])
def test_what_cannot_be_read_is_one_line(fault: str, tmp_path: Path) -> None:
    file, member = tmp_path / "a.zip", zipfile.ZipInfo("T/a.tsv")
    if fault == "a link":
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(file, "w") as made:
        made.writestr(member, "/etc/passwd")
    content = bytearray(file.read_bytes())
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    if fault == "encrypted":
        content[local + 6] |= 1
        content[central + 8] |= 1
    elif fault == "unknown packing":
        content[local + 8], content[central + 10] = 99, 99
    elif fault == "no zip":
        content = bytearray(b"<html>log in</html>")
    elif fault == "cut off":
        del content[-30:]
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip is not (a )?readable") as error:
        copy_all(file, tmp_path, "T")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "a.tsv").exists()
