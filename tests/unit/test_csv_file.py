"""The user's own CSV, TSV or Parquet: everything a real file brings ends right or in one line."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from stages.download_glue import download_glue
from stages.plumbing.command import UserError
from stages.plumbing.files import read_json, sha256
from stages.plumbing.params import load_params
from stages.plumbing.preset import merge
from stages.sources.csv_file import CsvFile
from stages.tasks import UNLABELLED, Fetched

ROOT = Path(__file__).parents[2]
SETTINGS = SimpleNamespace(sources=[], mirror="", counts="published")
WHOLE = "review,stars\n" + "".join(f"text {i},{'15'[i % 2]}\n" for i in range(40))


def entry(train: Path, **keys: object) -> CsvFile:
    basic = {"train": str(train), "text": "review", "label": "stars", "metric": "weighted_f1"}
    return CsvFile.model_validate(basic | keys)


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def split(fetched: Fetched, name: str) -> pd.DataFrame:
    pieces = fetched.splits[name]
    assert not isinstance(pieces, pd.DataFrame)
    return pd.concat(list(pieces), ignore_index=True)


def all_rows(fetched: Fetched) -> pd.DataFrame:
    """Train and what was held out of it, in the order of the file."""
    rows = pd.concat([split(fetched, "train"), split(fetched, "validation")])
    return rows.sort_values("id", key=lambda ids: ids.astype(int)).reset_index(drop=True)


def fetch(train: Path, **keys: object) -> Fetched:
    return entry(train, **keys).dataset("own").fetch(SETTINGS)


def refusal(train: Path, **keys: object) -> str:
    with pytest.raises(UserError) as error:
        fetch(train, **keys)
    assert "\n" not in str(error.value)
    return str(error.value)


def texts_of(tmp_path: Path, content: str | bytes, name: str = "own.csv", **keys: object) -> list:
    """What the file says after two rows of each class, so that one of each can be held out."""
    return all_rows(fetch(written(tmp_path / name, content), **keys))["text"].tolist()[4:]


START = "review,stars\na,1\nb,1\nc,5\nd,5\n"
TEXTS: dict[str, tuple[str | bytes, list[str]]] = {
    "byte-order mark": ("\ufeff" + START + "e,1\n", ["e"]),
    "quotes doubled": (START + '"he said ""no"", twice",1\n', ['he said "no", twice']),
    "newline in a field": (START + '"one\ntwo",1\n', ["one\ntwo"]),
    "CRLF": (START.replace("\n", "\r\n") + "e,1\r\nf,5\r\n", ["e", "f"]),
    "CRLF in a field": (START + '"one\r\ntwo",1\n', ["one\r\ntwo"]),
    "no newline at the end": (START + "e,1", ["e"]),
    "blank lines": ("\n" + START + "\n\ne,1\n  \n\n", ["e"]),
    "words that pandas takes for nothing": (
        START + "NA,1\nnull,1\nnan,5\nNone,5\nN/A,1\n",
        ["NA", "null", "nan", "None", "N/A"],
    ),
    "numbers": (START + "1.0,1\n007,1\n1e5,5\n", ["1.0", "007", "1e5"]),
    "line separators of Unicode": (START + "one\u2028two\x85three,1\n", ["one\u2028two\x85three"]),
    "spaces around a text": (START + " e ,1\n", [" e "]),
    "a text longer than the csv module takes": (START + "x" * 200_000 + ",1\n", ["x" * 200_000]),
}


@pytest.mark.parametrize("trap", TEXTS)
def test_a_text_arrives_as_it_stands_in_the_file(tmp_path: Path, trap: str) -> None:
    content, expected = TEXTS[trap]
    assert texts_of(tmp_path, content) == expected


def test_the_ending_decides_the_delimiter_and_the_key_overrules_it(tmp_path: Path) -> None:
    tabs, semicolons = START.replace(",", "\t") + "e, f\t1\n", START.replace(",", ";") + "e, f;1\n"
    assert texts_of(tmp_path, tabs, "own.tsv") == ["e, f"]
    assert texts_of(tmp_path, semicolons, delimiter=";") == ["e, f"]
    assert texts_of(tmp_path, tabs, "OWN.CSV", delimiter="\t") == ["e, f"]


def test_quotes_may_be_ordinary_characters(tmp_path: Path) -> None:
    content = START.replace(",", "\t") + '"an opening quote only\t1\n'
    assert texts_of(tmp_path, content, "own.tsv", quote="") == ['"an opening quote only']
    assert 'set csv.own.quote: ""' in refusal(tmp_path / "own.tsv")


@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "utf-16", "utf-8"])
def test_other_encodings_are_read_when_named(tmp_path: Path, encoding: str) -> None:
    text = "很好" if encoding == "gbk" else "déjà vu"
    content = (START + f"{text},1\n").encode(encoding)
    assert texts_of(tmp_path, content, encoding=encoding) == [text]


def test_an_unnamed_encoding_is_refused_with_the_byte_and_the_cure(tmp_path: Path) -> None:
    content = START.encode() + "很好,1\n".encode("gbk")
    message = refusal(written(tmp_path / "own.csv", content))
    assert f"own.csv is not utf-8: byte 0xBA at {len(START)} (line 6)" in message
    assert "set csv.own.encoding" in message
    assert "encoding: gbk" in message


# What stands in the file, the keys beside it -> what the line says.
REFUSED: dict[str, tuple[str | bytes, dict[str, object], list[str]]] = {
    "unknown label": (
        START + "e,3\n",
        {"labels": {"1": "bad", "5": "good"}},
        ["own.csv row 6: unknown label '3'", "known: 1, 5"],
    ),
    "row numbers count newlines in a field as one row": (
        START + '"e\nf",5\ng,3\n',
        {"labels": {"1": "bad", "5": "good"}},
        ["own.csv row 7: unknown label '3'"],
    ),
    "yes and no that YAML turned into truth values": (
        "review,stars\na,yes\nb,no\n",
        {"labels": {False: "bad", True: "good"}},
        ["unknown label 'yes'", "put yes, no, on and off in quotes"],
    ),
    "missing label": (START + "e,\nf, \n", {}, ["row 6: no 'stars' (one of 2 such rows)"]),
    "missing column": (START, {"text": "reviews"}, ["no column 'reviews'; did you mean 'review'?"]),
    "missing label column": (START, {"label": "star"}, ["did you mean 'stars'?", "own.csv"]),
    "missing pair": (START, {"text_pair": "other"}, ["has no column 'other'; known: review, stars"]),
    "no header": ("fine film,5\nbad film,1\n", {}, ["its first row must name the columns"]),
    "duplicate column": ("review,stars,review\na,1,b\n", {}, ["2 columns named 'review'; rename"]),
    "another delimiter": (
        START.replace(",", ";"),
        {},
        ["its header is one single cell, 'review;stars'", 'set csv.own.delimiter: ";"'],
    ),
    "a tab for a delimiter": (START.replace(",", "\t"), {}, ['set csv.own.delimiter: "\\t"']),
    "too many cells": (START + "e, f,1\n", {}, ["row 6 (ending in line 6) has 3 cells instead of 2"]),
    "too few cells": (START + '"e\nf",1\ng\n', {}, ["row 7 (ending in line 8) has 1 cells"]),
    "a quote never closed": (START + '"e,1\nf,5\n', {}, ["row 6", "a quote is not closed"]),
    "a quote not doubled": (START + '"e" f,1\n', {}, ["row 6", "not doubled", "quote"]),
    "NUL": (START + "e\0,1\n", {}, ["own.csv line 6 holds a NUL character", "CSV UTF-8"]),
    "UTF-16 without mark": (START.encode("utf-16-le"), {}, ["line 1 holds a NUL character"]),
    "another encoding than named": (
        START + "é,1\n",
        {"encoding": "ascii"},
        ["own.csv is not ascii: byte 0xC3 at 29 (line 6)"],
    ),
    "cut off UTF-16": (START.encode("utf-16")[:-1], {"encoding": "utf-16"}, ["is not utf-16"]),
    "empty file": ("", {}, ["own.csv is empty; its first row must name the columns"]),
    "blank lines only": ("\n\n  \n", {}, ["own.csv is empty"]),
    "byte-order mark only": ("\ufeff", {}, ["own.csv is empty"]),
    "header only": ("review,stars\n", {}, ["own.csv has no rows below its header"]),
    "no text at all": (
        "review,stars\n,1\n  ,5\n",
        {},
        ["'review' is empty in each of its 2 rows; name the column"],
    ),
    "each row another label": (
        "review,stars\na,1.5\nb,2.5\nc,3.5\n",
        {},
        ["too few different texts per value of 'stars'", "csv.own.validation", "metric: pearson"],
    ),
    "more labels than classes can be": (
        "review,stars\n" + "".join(f"t{i},{i / 7}\n" for i in range(300)),
        {},
        ["row 202: label '28.571428571428573' is the 201st different", "'metric: pearson'"],
    ),
    "f1 of three classes": (START + "e,3\nf,3\n", {"metric": "f1"}, ["take weighted_f1", "(1, 3, 5)"]),
    "a score that is no number": (START + "e,good\n", {"metric": "pearson"}, ["row 6: score 'good'"]),
    "a decimal comma": (START + 'e,"1,5"\n', {"metric": "pearson"}, ["score '1,5'", "not a comma"]),
    "NaN as a score": (START + "e,nan\n", {"metric": "spearman"}, ["row 6: score 'nan'"]),
    "an infinite score": (START + "e,-inf\n", {"metric": "pearson"}, ["score '-inf' is no finite"]),
    "no score": (START + "e,\n", {"metric": "pearson"}, ["row 6: no 'stars'"]),
}  # fmt: skip


@pytest.mark.parametrize("trap", REFUSED)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, trap: str) -> None:
    content, keys, expected = REFUSED[trap]
    message = refusal(written(tmp_path / "own.csv", content), **keys)
    for text in expected:
        assert text in message


def test_a_file_that_is_not_there_is_named_with_its_full_path(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nowhere.csv")
    assert f"csv.own.train is '{tmp_path}/nowhere.csv'" in message
    assert "does not exist; correct it in params.yaml" in message
    assert "is a folder" in refusal(tmp_path)
    assert "ends in neither .csv, .tsv nor .parquet" in refusal(written(tmp_path / "a.xlsx", "x"))
    written(tmp_path / "own.csv", WHOLE)
    missing = refusal(tmp_path / "own.csv", validation="$NOT_SET_ANYWHERE/validation.csv")
    assert "csv.own.validation is '$NOT_SET_ANYWHERE/validation.csv'" in missing
    assert "environment variable that is not set" in missing


def test_home_and_variables_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "own.csv", WHOLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    for named in ("~/own.csv", "$MY_DATA/own.csv", "${MY_DATA}/own.csv"):
        dataset = entry(Path(named)).dataset("own")
        assert dataset.files(SETTINGS) == [path]
        assert dataset.reachable(SETTINGS)
        assert len(all_rows(dataset.fetch(SETTINGS))) == 40
    assert not entry(Path("~/other.csv")).dataset("own").reachable(SETTINGS)


def test_the_record_names_roles_and_files_but_no_folder(tmp_path: Path) -> None:
    train = written(tmp_path / "own.csv", WHOLE)
    (tmp_path / "other").mkdir()
    test = written(tmp_path / "other" / "own.csv", WHOLE.replace("text", "other"))
    fetched = fetch(train, test=str(test), licence="CC0")
    assert fetched.source == "file"
    assert fetched.sha256 == {"train: own.csv": sha256(train), "test: own.csv": sha256(test)}
    dataset = entry(train, test=str(test), licence="CC0").dataset("own")
    assert dataset.files(SETTINGS) == [train, test]
    assert dataset.task.licence == "CC0"
    assert str(tmp_path) not in dataset.task.model_dump_json()
    assert entry(train).dataset("own").task.licence == "not stated"


def test_rows_without_a_text_are_left_out_and_counted(tmp_path: Path) -> None:
    content = START.replace("\n", ",x\n").replace("stars,x", "stars,other") + ",1,x\n \t,,x\ne,1,\n"
    path = written(tmp_path / "own.csv", content)
    one = fetch(path)
    assert one.left_out == {"no text in train": 2}
    assert all_rows(one)["text"].tolist() == ["a", "b", "c", "d", "e"]
    pairs = fetch(path, text_pair="other")
    assert pairs.left_out == {"no text in train": 3}
    assert all_rows(pairs)[["text", "text_pair"]].values.tolist() == [[t, "x"] for t in "abcd"]


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


def test_parquet_without_text_or_label(tmp_path: Path) -> None:
    texts = ["a", "b", "NA", "d", None, " "]
    path = tmp_path / "own.parquet"
    parquet.write_table(pa.table({"review": texts, "stars": [1, 1, 5, 5, 1, 5]}), path)
    fetched = fetch(path)
    assert all_rows(fetched)["text"].tolist() == ["a", "b", "NA", "d"]
    assert fetched.left_out == {"no text in train": 2}
    for missing in (None, float("nan")):
        stars = pa.array([1.0, 1, 5, missing, 5, 1], pa.float64())
        parquet.write_table(pa.table({"review": texts, "stars": stars}), path)
        assert "own.parquet row 4: no 'stars'" in refusal(path)
        assert "own.parquet row 4: no 'stars'" in refusal(path, metric="pearson")


def test_a_parquet_file_that_is_none_or_of_another_kind(tmp_path: Path) -> None:
    path = written(tmp_path / "own.parquet", WHOLE)
    assert "own.parquet is no Parquet file, or a damaged one" in refusal(path)
    assert "own.parquet is no Parquet file" in refusal(written(path, ""))
    table = pa.table({"review": [["a"], ["b"]], "stars": [1, 5]})
    parquet.write_table(table, path)
    assert "column 'review' holds list<element: string>" in refusal(path)
    assert "no column 'text'; known: review, stars" in refusal(path, text="text")
    parquet.write_table(table.slice(0, 0), path)
    assert "own.parquet has no rows" in refusal(path)
    parquet.write_table(pa.table([["a"], ["b"], [1]], ["review", "review", "stars"]), path)
    assert "2 columns named 'review'" in refusal(path)
    parquet.write_table(pa.table({"review": [f"t{i}" for i in range(9999)], "stars": 1}), path)
    whole = path.read_bytes()
    written(path, whole[:40] + b"\xff" * 4000 + whole[4040:])
    assert "own.parquet is no Parquet file, or a damaged one" in refusal(path)


def test_the_same_rows_from_csv_tsv_and_parquet(tmp_path: Path) -> None:
    rows = pd.DataFrame({"review": [f'"{i}",\n' for i in range(50)], "stars": [1, 5] * 25})
    rows.to_csv(tmp_path / "own.csv", index=False)
    rows.to_csv(tmp_path / "own.tsv", index=False, sep="\t")
    rows.to_parquet(tmp_path / "own.parquet")
    columns = ["text", "label"]
    found = [
        [split(fetched, name)[columns].values.tolist() for name in ("train", "validation")]
        for fetched in (fetch(tmp_path / f"own.{each}") for each in ("csv", "tsv", "parquet"))
    ]
    assert found[0] == found[1] == found[2]


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


def test_texts_in_two_files_are_counted_and_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = written(tmp_path / "own.csv", WHOLE)
    other = written(tmp_path / "validation.csv", "review,stars\ntext 1,1\ntext 2,5\nnew,5\n")
    fetched = fetch(train, validation=str(other))
    assert "own: 2 of 3 texts in validation are in train too" in capsys.readouterr().out
    assert (len(split(fetched, "train")), len(split(fetched, "validation"))) == (40, 3)


def test_ids_are_row_numbers_or_a_column(tmp_path: Path) -> None:
    path = written(tmp_path / "own.csv", "key,review,stars\nk1,a,1\nk2,b,1\nk3,c,5\n\nk4,d,5\n")
    assert all_rows(fetch(path))["id"].tolist() == ["2", "3", "4", "6"]
    ids = {
        key for name in ("train", "validation") for key in split(fetch(path, id="key"), name)["id"]
    }
    assert ids == {"k1", "k2", "k3", "k4"}


class TestWhatIsHeldOut:
    def test_is_a_tenth_of_each_class_and_nothing_is_lost(self, tmp_path: Path) -> None:
        sizes = {"a": 1000, "b": 155, "c": 94, "d": 2, "e": 1}
        rows = [f"{name} {i},{name}\n" for name, size in sizes.items() for i in range(size)]
        fetched = fetch(written(tmp_path / "own.csv", "review,stars\n" + "".join(rows)))
        held_out = split(fetched, "validation")
        assert held_out["label"].value_counts().to_dict() == {0: 100, 1: 16, 2: 9, 3: 1}
        assert sorted(all_rows(fetched)["text"]) == sorted(row.split(",")[0] for row in rows)

    def test_is_the_same_everywhere_and_in_any_order(self, tmp_path: Path) -> None:
        lines = WHOLE.splitlines(keepends=True)
        backwards = lines[0] + "".join(reversed(lines[1:]))
        found = [
            set(split(fetch(written(tmp_path / "own.csv", each)), "validation")["text"])
            for each in (WHOLE, backwards)
        ]
        assert found[0] == found[1] == {"text 18", "text 26", "text 3", "text 35"}  # for ever

    def test_copies_of_a_text_stay_on_one_side(self, tmp_path: Path) -> None:
        rows = [f"text {i % 150},{i % 2}\n" for i in range(600)]  # each text four times
        rows += [f"torn,{i % 2}\n" for i in range(20)]
        fetched = fetch(written(tmp_path / "own.csv", "review,stars\n" + "".join(rows)))
        held_out, train = split(fetched, "validation"), split(fetched, "train")
        assert not set(held_out["text"]) & set(train["text"])
        assert "torn" in set(train["text"])
        assert held_out["label"].value_counts().to_dict() == {0: 28, 1: 28}  # of 31, in fours


CSV = {"train": "own.csv", "text": "review", "label": "stars", "metric": "weighted_f1"}
RECIPE = yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"]["mrpc"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a params.yaml that names one file."""
    monkeypatch.chdir(tmp_path)
    set_params(tmp_path, {})
    return tmp_path


def set_params(folder: Path, changes: dict) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    merge(values, {"tasks": ["own"], "csv": {"own": dict(CSV)}, "finetune": {"own": RECIPE}})
    merge(values, changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def test_the_stage_writes_what_the_file_says(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(project / "own.csv", WHOLE + " ,1\n")
    set_params(project, {"csv": {"own": {"labels": {"1": "bad", "5": "good"}}}})
    download_glue("own")
    train = pd.read_parquet("data/own/train.parquet")
    assert train.columns.tolist() == ["id", "text", "label"]
    assert train["label"].value_counts().to_dict() == {0: 18, 1: 18}
    assert len(pd.read_parquet("data/own/validation.parquet")) == 4
    task = read_json(Path("data/own/task.json"))
    assert (task["labels"], task["scored"]) == (["bad", "good"], ["validation"])
    facts = read_json(Path("metrics/own/dataset.json"))
    assert facts["splits"]["train"]["good"] == 18
    assert facts["left_out"] == {"no text in train": 1}
    assert facts["source"] == "file"
    assert str(project) not in Path("metrics/own/dataset.json").read_text()
    assert "own: 1 rows left out: no text in train" in capsys.readouterr().out


def test_a_second_recipe_reads_the_same_file(project: Path) -> None:
    written(project / "own.csv", WHOLE)
    set_params(project, {"tasks": ["own", "own__long"], "finetune": {"own__long": RECIPE}})
    for name in load_params().tasks:
        download_glue(name)
    assert read_json(Path("data/own__long/task.json"))["name"] == "own__long"
    splits = [pd.read_parquet(f"data/{name}/train.parquet") for name in load_params().tasks]
    pd.testing.assert_frame_equal(*splits)


def test_a_validation_file_of_one_class_is_refused(project: Path) -> None:
    written(project / "own.csv", WHOLE)
    written(project / "validation.csv", "review,stars\ne,1\nf,1\n")
    set_params(project, {"csv": {"own": {"validation": "validation.csv"}}})
    with pytest.raises(UserError, match=r"own/validation has one class only \('1'\).*two classes"):
        download_glue("own")
    assert not Path("data/own").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"txt": "a"}, "unknown key 'csv.own.txt'; did you mean 'text'?"),
        ({"lables": {}}, "unknown key 'csv.own.lables'; did you mean 'labels'?"),
        ({"text": None}, "key 'csv.own.text' is missing; add it"),
        ({"metric": "f2"}, "csv.own.metric is 'f2': Input should be 'f1', 'weighted_f1'"),
        ({"train": ""}, "csv.own.train is ''"),
        ({"encoding": "gkb"}, "csv.own.encoding is 'gkb': Value error, no such encoding"),
        ({"encoding": "base64"}, "csv.own.encoding is 'base64': Value error, no such encoding"),
        ({"delimiter": ", "}, "csv.own.delimiter is ', '"),
        ({"labels": {"1": "bad"}}, "two classes are needed at least"),
        ({"labels": {"1": "bad", "5": False}}, "the class of '5' is False; put its name in quotes"),
        ({"labels": {"1": "x", "5": "y"}, "metric": "pearson"}, "a regression has no classes"),
        ({"labels": "bad"}, "csv.own.labels is 'bad'"),
    ],
)
def test_a_mistake_in_params_names_the_key(project: Path, changes: dict, expected: str) -> None:
    set_params(project, {"csv": {"own": changes}})
    with pytest.raises(UserError, match=re.escape(expected)):
        load_params()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mrpc", "csv.mrpc has the name of a built-in task; give it another one"),
        ("My-Reviews", "csv.My-Reviews is no name for a task; take small letters"),
        ("own__long", "csv.own__long is no name for a task"),
        ("", "is no name for a task"),
    ],
)
def test_a_name_that_cannot_be_is_refused(project: Path, name: str, expected: str) -> None:
    set_params(project, {"csv": {name: CSV}})
    with pytest.raises(UserError, match=re.escape(expected)):
        load_params()


def test_a_mistyped_task_names_the_users_own(project: Path) -> None:
    set_params(project, {"tasks": ["onw"]})
    with pytest.raises(UserError, match=r"unknown task 'onw'; did you mean 'own'\?"):
        load_params()


GROWTH = """
import resource
from stages.download_glue import download_glue
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
download_glue("own")
print("MiB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""


def test_a_million_rows_take_less_than_a_gibibyte(project: Path) -> None:
    texts = [" ".join(f"word{(i * j) % 997}" for j in range(20 + i % 20)) for i in range(1000)]
    with (project / "own.csv").open("w") as file:
        file.write("review,stars\n")
        for block in range(1000):
            file.writelines(f'"{text}, {block}",{i % 5}\n' for i, text in enumerate(texts))
    assert (project / "own.csv").stat().st_size > 200e6
    (project / "stages").symlink_to(ROOT / "stages")
    command = [sys.executable, "-c", GROWTH]
    result = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert result.returncode == 0, result.stderr
    assert "'train': 900000, 'validation': 100000" in result.stdout
    assert int(result.stdout.split("MiB")[1]) < 1024
