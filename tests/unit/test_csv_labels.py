"""The label column of the user's own file: classes, scores, or none."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from stages.dataset.dataset import UNLABELLED
from tests.own_file import WHOLE, all_rows, entry, fetch, refusal, split, written


@pytest.mark.parametrize(
    ("found", "labels", "names", "numbers"),
    [
        (["1", "5", "1"], {"1": "bad", "5": "good"}, ("bad", "good"), [0, 1, 0]),
        (["1", "5", "1"], {"5": "good", "1": "bad"}, ("good", "bad"), [1, 0, 1]),
        (["1", "5", "1"], {1: "bad", 5: "good"}, ("bad", "good"), [0, 1, 0]),
        (["1", "2", "5"], {"1": "bad", "2": "bad", "5": "good"}, ("bad", "good"), [0, 0, 1]),
        (["1.0", "5", "1"], {"1": "bad", "5.0": "good"}, ("bad", "good"), [0, 1, 0]),
        (["True", "FALSE", "true"], {True: "spam", False: "ham"}, ("spam", "ham"), [0, 1, 0]),
        ([" pos", "neg", "pos "], {"neg": "-", "pos": "+"}, ("-", "+"), [1, 0, 1]),
        (["10", "9", "-1"], {}, ("-1", "9", "10"), [2, 1, 0]),
        (["10", "9", "x"], {}, ("10", "9", "x"), [0, 1, 2]),
        (["1.5", "2.0", "1.5"], {}, ("1.5", "2"), [0, 1, 0]),
        (["NA", "nan", "NA"], {}, ("NA", "nan"), [0, 1, 0]),
        (["True", "False", "true"], {}, ("false", "true"), [1, 0, 1]),
    ],
)
def test_labels_become_classes_in_the_order_named_or_sorted(
    tmp_path: Path, found: list, labels: dict, names: tuple, numbers: list
) -> None:
    rows = "".join(f'text {i},"{label}"\n' for i, label in enumerate(found * 5))
    fetched = fetch(written(tmp_path / "own.csv", "review,stars\n" + rows), labels=labels)
    assert fetched.labels == names
    assert all_rows(fetched)["label"].tolist() == numbers * 5
    assert all_rows(fetched)["label"].dtype == np.int64


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([1, 5] * 20), ("1", "5")),
        (pa.array([1.0, 5.0] * 20), ("1", "5")),
        (pa.array([1.5, 5.0] * 20), ("1.5", "5")),
        (pa.array([True, False] * 20), ("false", "true")),
        (pa.array(["a", "b"] * 20), ("a", "b")),
        (pa.array(["a", "b"] * 20, pa.large_string()), ("a", "b")),
        (pa.array(["a", "b"] * 20).dictionary_encode(), ("a", "b")),
        (pa.array([b"a", b"b"] * 20), ("a", "b")),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_parquet_labels_of_any_type(tmp_path: Path, column: pa.Array, names: tuple) -> None:
    table = pa.table({"review": [f"text {i}" for i in range(40)], "stars": column})
    parquet.write_table(table, tmp_path / "own.parquet")
    assert fetch(tmp_path / "own.parquet").labels == names


def test_a_regression_keeps_the_numbers(tmp_path: Path) -> None:
    rows = "".join(f"text {i},{i / 4}\n" for i in range(300))
    path = written(tmp_path / "own.csv", "review,stars\n" + rows)
    fetched = fetch(path, metric="spearman")
    assert fetched.labels == ()
    assert all_rows(fetched)["label"].tolist() == [i / 4 for i in range(300)]
    assert len(split(fetched, "validation")) == 30
    task = entry(path, metric="spearman").dataset("own").task
    assert (task.regression, task.metrics) == (True, ("spearman", "pearson"))


def test_a_test_file_may_have_no_labels(tmp_path: Path) -> None:
    train = written(tmp_path / "own.csv", WHOLE)
    for number, content in enumerate(["review\ne\nf\n", "review,stars\ne,\nf,\n"]):
        test = written(tmp_path / f"test{number}.csv", content)
        assert split(fetch(train, test=str(test)), "test")["label"].tolist() == [UNLABELLED] * 2
        assert "no column 'stars'" in refusal(train, validation=str(test)) or number
    partly = written(tmp_path / "partly.csv", "review,stars\ne,1\nf,\n")
    assert "partly.csv row 3: no 'stars'" in refusal(train, test=str(partly))


def test_a_label_that_train_does_not_have_is_unknown_elsewhere(tmp_path: Path) -> None:
    train = written(tmp_path / "own.csv", WHOLE)
    other = written(tmp_path / "validation.csv", "review,stars\ne,1\nf,4\n")
    message = refusal(train, validation=str(other))
    assert "validation.csv row 3: unknown label '4'; known: 1, 5" in message


def test_a_class_without_a_row_in_train_is_mentioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"1": "bad", "3": "so-so", "5": "good"}
    fetched = fetch(written(tmp_path / "own.csv", WHOLE), labels=labels)
    assert fetched.labels == ("bad", "so-so", "good")
    assert "no row of train is 'so-so'" in capsys.readouterr().out


@pytest.mark.parametrize("pair", [("Yes", "yes"), ("not good", "not_good"), ("1", "01")])
def test_labels_that_differ_in_their_spelling_alone_are_not_two_classes(
    tmp_path: Path, pair: tuple[str, str]
) -> None:
    rows = "".join(f"text {i},{pair[i % 2]}\n" for i in range(40))
    path = written(tmp_path / "own.csv", "review,stars\n" + rows)
    assert "differ in their spelling alone; list all values under 'labels'" in refusal(path)
    both = dict.fromkeys(pair, "a") | {"other": "b"}
    assert fetch(path, labels=both).labels == ("a", "b")


@pytest.mark.parametrize("label", ["a\x1b[31m", "a\tb", '"a\nb"', "x" * 201])
def test_a_label_that_no_line_could_show_is_refused(tmp_path: Path, label: str) -> None:
    rows = "".join(f"text {i},{label if i % 2 else 'b'}\n" for i in range(40))
    message = refusal(written(tmp_path / "own.csv", "review,stars\n" + rows))
    assert "own.csv row 3: label " in message
