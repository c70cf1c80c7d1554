"""Splits of a corpus that has none."""

import pandas as pd

from stages.sources.stratified import split

SHARES = {"test": 0.1, "validation": 0.1}
ROWS = pd.DataFrame(
    {"id": [str(i) for i in range(1000)], "sentence": "x", "label": [0, 0, 0, 1] * 250}
)


def test_each_class_is_cut_in_the_same_proportions_and_nothing_is_lost() -> None:
    splits = split(ROWS, SHARES)
    assert {name: len(part) for name, part in splits.items()} == {
        "test": 100,
        "validation": 100,
        "train": 800,
    }
    assert {part["label"].mean() for part in splits.values()} == {0.25}
    assert sorted(pd.concat(splits.values())["id"]) == sorted(ROWS["id"])


def test_neither_the_order_of_the_rows_nor_a_library_version_changes_it() -> None:
    splits, again = split(ROWS, SHARES), split(ROWS.sample(frac=1, random_state=1), SHARES)
    assert {name: part["id"].tolist() for name, part in splits.items()} == {
        name: part["id"].tolist() for name, part in again.items()
    }
    assert splits["validation"]["id"].head(5).tolist() == ["695", "767", "859", "135", "231"]


def test_repeated_texts_stay_together() -> None:
    rows = pd.DataFrame({"text": ["a", "b", "c", "d", "e"] * 2, "label": 0})
    splits = split(rows, {"validation": 0.2}, by="text")
    assert splits["validation"]["text"].nunique() == 1
    assert not set(splits["validation"]["text"]) & set(splits["train"]["text"])
