"""IMDB from the original folder and from a stand-in hub."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import tasks
from stages.plumbing.command import UserError
from tests.glue_files import hub_files, tables, write_mirror
from tests.stand_in_hub import Server

ROWS = {"train": 200, "test": 60}
IMDB = tasks.dataset("imdb", {})


def settings(mirror: Path | str = "", counts: str = "any") -> SimpleNamespace:
    return SimpleNamespace(sources=["mirror", "hub", "site"], mirror=str(mirror), counts=counts)


@pytest.fixture(autouse=True)
def no_folder_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMDB_FOLDER", raising=False)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return write_mirror(tmp_path / "mirror", "imdb", ROWS)


def test_validation_is_a_stratified_tenth_of_train(mirror: Path) -> None:
    found = tables(IMDB.fetch(settings(mirror)))
    assert {name: rows["label"].value_counts().to_dict() for name, rows in found.items()} == {
        "validation": {0: 10, 1: 10},
        "train": {0: 90, 1: 90},
        "test": {0: 30, 1: 30},
    }
    assert not set(found["train"]["id"]) & set(found["validation"]["id"])


def test_texts_keep_their_tags_and_characters(mirror: Path) -> None:
    train = tables(IMDB.fetch(settings(mirror)))["train"]
    assert train["text"].str.count("<br /><br />").eq(1).all()
    assert train["text"].str.contains("caf\u00e9\u2028two\u0085three").any()
    assert train["id"].str.fullmatch(r"(neg|pos)/\d+_\d+").all()


def test_folder_and_hub_give_the_same_splits(net: Server, mirror: Path) -> None:
    net.files |= hub_files("imdb", ROWS)
    hub, folder = IMDB.fetch(settings()), IMDB.fetch(settings(mirror))
    assert (hub.source, folder.source) == ("hub", "mirror")
    for split in ("train", "validation"):
        for column in ("text", "label"):
            assert tables(hub)[split][column].equals(tables(folder)[split][column])
    assert sorted(tables(hub)["test"]["text"]) == sorted(tables(folder)["test"]["text"])
    assert IMDB.reachable(settings())


def test_the_environment_names_a_folder_and_wins(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMDB_FOLDER", str(mirror / "aclImdb"))
    assert len(tables(IMDB.fetch(settings()))["test"]) == 60
    assert IMDB.reachable(settings())
    monkeypatch.setenv("IMDB_FOLDER", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere' lacks the folder train/neg; set IMDB_FOLDER"):
        IMDB.fetch(settings(mirror))


def test_published_counts_are_asked_for(
    net: Server,
    mirror: Path,
) -> None:
    wanted = settings(mirror, "published")
    with pytest.raises(UserError, match="imdb/validation has 20 rows, published are 2500"):
        IMDB.check(tables(IMDB.fetch(wanted)), wanted)
    net.files |= hub_files("imdb", ROWS)
    with pytest.raises(UserError, match=r"published are 2500.*removed, run again"):
        IMDB.fetch(settings(counts="published"))
    net.files |= hub_files("imdb", rows=None)
    assert len(tables(IMDB.fetch(settings(counts="published")))["train"]) == 22_500


def test_damaged_files_are_named(mirror: Path) -> None:
    (mirror / "aclImdb/train/neg/0_2.txt").write_bytes(b"bad \xff byte")
    with pytest.raises(UserError, match=r"train/neg/0_2\.txt is not UTF-8"):
        IMDB.fetch(settings(mirror))
    (mirror / "aclImdb/train/neg/0_2.txt").rename(mirror / "aclImdb/train/neg/copy.txt")
    with pytest.raises(UserError, match=r"train/neg/copy\.txt is not called <id>_<rating>"):
        IMDB.fetch(settings(mirror))


def test_any_change_of_a_review_shows_in_the_checksum(mirror: Path) -> None:
    before = IMDB.fetch(settings(mirror)).sha256
    path = mirror / "aclImdb/test/neg/0_2.txt"
    path.write_text("other")
    after = IMDB.fetch(settings(mirror)).sha256
    assert before["aclImdb/train"] == after["aclImdb/train"]
    assert before["aclImdb/test"] != after["aclImdb/test"]


def test_without_any_source_the_ways_out_are_named(
    net: Server,
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError) as error:
        IMDB.fetch(settings(tmp_path))
    for part in ("no aclImdb/ is in the mirror", "HTTP 404", "site (has no IMDB)", "IMDB_FOLDER"):
        assert part in str(error.value)
    assert not IMDB.reachable(settings(tmp_path))
