"""Sougou's topics from a folder: what is split how, and what is refused in one line."""

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.dataset.dataset import Fetched
from stages.plumbing.command import UserError
from stages.tasks.sougou import DATASET
from tests.glue_files import tables

TOPICS = {"健康": 1, "体育": 0, "军事": 2}
TRAPS = ['他说"好"，\n走了', "a,b", "字" * 200_000]  # quotes, a line break, longer than csv's limit


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOUGOU_FOLDER", raising=False)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror with `sougou/`: the labels, and 60 texts of each topic in test.csv."""
    folder = tmp_path / "sougou"
    folder.mkdir()
    (folder / "label.json").write_text(json.dumps(TOPICS, ensure_ascii=False), encoding="utf-8")
    write(folder / "test.csv", rows("测试"))
    return tmp_path


def rows(word: str) -> list[tuple[str, int]]:
    texts = [(f"{name}{word}{i}", label) for i in range(60) for name, label in TOPICS.items()]
    return [*zip(TRAPS, range(3), strict=True), *texts[3:]]


def write(path: Path, table: list[tuple[str, int]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *table])


def fetch(mirror: Path | str) -> Fetched:
    return DATASET.fetch(SimpleNamespace(sources=[], mirror=str(mirror), counts="published"))


def sizes(fetched: Fetched) -> dict[str, list[int]]:
    return {
        name: part["label"].value_counts().sort_index().tolist()
        for name, part in tables(fetched).items()
    }


def test_a_single_file_is_split_60_20_20_within_each_topic(mirror: Path) -> None:
    fetched = fetch(mirror)
    assert sizes(fetched) == {"train": [36] * 3, "validation": [12] * 3, "test": [12] * 3}
    ids = [name for part in tables(fetched).values() for name in part["id"]]
    assert sorted(ids) == sorted(f"test-{i}" for i in range(1, 181))
    again = fetch(mirror)
    for name, part in tables(fetched).items():
        assert part["id"].tolist() == tables(again)[name]["id"].tolist()


def test_with_both_files_validation_is_a_tenth_of_train_and_test_stays_whole(mirror: Path) -> None:
    write(mirror / "sougou/train.csv", rows("训练"))
    fetched = fetch(mirror)
    assert sizes(fetched) == {"train": [54] * 3, "validation": [6] * 3, "test": [60] * 3}
    assert all(name.startswith("test-") for name in tables(fetched)["test"]["id"])
    assert set(fetched.sha256) == {"train.csv", "test.csv", "label.json"}


def test_a_repeated_text_never_stands_in_two_tables(mirror: Path) -> None:
    write(mirror / "sougou/test.csv", rows("测试") * 2)
    parts = [set(part["text"]) for part in tables(fetch(mirror)).values()]
    assert len(set.union(*parts)) == 180
    shared = sum(map(len, parts)) - 180
    assert shared <= 2 * 3  # at most the one that lies on a border, per topic


def test_texts_survive_quotes_line_breaks_and_length(mirror: Path) -> None:
    found = {text for part in tables(fetch(mirror)).values() for text in part["text"]}
    assert set(TRAPS) <= found


def test_labels_come_from_label_json_in_the_order_of_their_ids(mirror: Path) -> None:
    assert fetch(mirror).labels == ("体育", "健康", "军事")


def test_the_variable_wins_over_the_mirror(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUGOU_FOLDER", str(mirror / "sougou"))
    assert len(tables(fetch("/nowhere"))["train"]) == 108
    settings = SimpleNamespace(sources=[], mirror="/nowhere", counts="any")
    assert {path.name for path in DATASET.files(settings)} == {"test.csv", "label.json"}
    assert DATASET.reachable(settings)


def test_without_a_folder_the_two_ways_to_name_one_are_said(mirror: Path) -> None:
    with pytest.raises(UserError, match="set SOUGOU_FOLDER \\(or GLUE_MIRROR"):
        fetch("")
    with pytest.raises(UserError, match=r"the folder '/nowhere/sougou' does not exist"):
        fetch("/nowhere")
    nowhere = SimpleNamespace(sources=[], mirror="/nowhere", counts="any")
    assert not DATASET.reachable(nowhere)
    assert DATASET.files(nowhere) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{'体育': 0}", "is not valid JSON"),
        ("[0, 1]", "holds no object; .* with the ids 0, 1, 2"),
        ('{"a": 0, "b": "1"}', "does not map names to whole numbers"),
        ('{"a": 0, "b": 2}', r"has the ids \[0, 2\]"),
        ('{"a": 0, "b": 0}', r"has the ids \[0, 0\]"),
        ('{"a": 0}', r"has the ids \[0\]"),
    ],
)
def test_an_odd_label_json_is_refused(mirror: Path, content: str, expected: str) -> None:
    (mirror / "sougou/label.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=expected):
        fetch(mirror)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "text,label\na,0\nb,7\n",
            "row 2 has the label '7', which label.json lacks; it has 0 to 2",
        ),
        ("text,label\na,\n", "row 1 has the label ''"),
        ("text,label\n ,0\n", "row 1 has no text"),
        ("text,label\na\n", "row 1 has 1 cells instead of 2; the file is damaged or cut off"),
        ('text,label\na,0\n"b', "is damaged or not UTF-8 CSV"),
        ("content,label\na,0\n", r"has the columns \['content', 'label'\] instead of"),
        ("", r"has the columns \[\] instead of"),
    ],
)
def test_a_damaged_file_is_named_with_its_row(mirror: Path, content: str, expected: str) -> None:
    (mirror / "sougou/test.csv").write_text(content)
    with pytest.raises(UserError, match=expected) as error:
        fetch(mirror)
    assert "test.csv'" in str(error.value)


def test_another_encoding_and_a_missing_file_are_said(mirror: Path) -> None:
    (mirror / "sougou/test.csv").write_bytes("text,label\n体育,0\n".encode("gb18030"))
    with pytest.raises(UserError, match="not UTF-8 CSV"):
        fetch(mirror)
    (mirror / "sougou/test.csv").unlink()
    with pytest.raises(UserError, match=r"holds neither train\.csv nor test\.csv"):
        fetch(mirror)
    (mirror / "sougou/label.json").unlink()
    with pytest.raises(UserError, match=r"label\.json is missing"):
        fetch(mirror)
