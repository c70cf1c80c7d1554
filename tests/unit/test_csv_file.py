"""The user's own CSV, TSV or Parquet: all that a real file brings ends right or in one line."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from stages.plumbing.files import sha256
from tests.own_file import SETTINGS, WHOLE, all_rows, entry, fetch, refusal, split, written


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
    assert "as in csv.own.encoding" in message
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
    "true and false, where the file has yes and no": (
        "review,stars\na,yes\nb,no\n",
        {"labels": {False: "bad", True: "good"}},
        ["unknown label 'yes'", "known: false, true"],
    ),
    "missing label": (START + "e,\nf, \n", {}, ["row 6: no 'stars' (one of 2 such rows)"]),
    "missing column": (START, {"text": "reviews"}, ["no column 'reviews'; did you mean 'review'?"]),
    "missing label column": (START, {"label": "star"}, ["did you mean 'stars'?", "own.csv"]),
    "missing pair": (START, {"text_pair": "other"}, ["no column 'other'; known: review, stars"]),
    "no header": ("fine film,5\nbad film,1\n", {}, ["its first row must name the columns"]),
    "duplicate column": ("review,stars,review\na,1,b\n", {}, ["2 columns named 'review'; rename"]),
    "another delimiter": (
        START.replace(",", ";"),
        {},
        ["its header is one single cell, 'review;stars'", 'set csv.own.delimiter: ";"'],
    ),
    "a tab for a delimiter": (START.replace(",", "\t"), {}, ['set csv.own.delimiter: "\\t"']),
    "too many cells": (START + "e, f,1\n", {}, ["row 6 (ending in line 6) has 3 cells", "2;"]),
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
    "f1 of three classes": (START + "e,3\n", {"metric": "f1"}, ["take weighted_f1", "(1, 3, 5)"]),
    "no number as a score": (START + "e,good\n", {"metric": "pearson"}, ["row 6: score 'good'"]),
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
    assert f"csv.own.train: '{tmp_path}/nowhere.csv'" in message
    assert "does not exist; correct it in params.yaml" in message
    assert "is a folder" in refusal(tmp_path)
    assert "ends in neither .csv, .tsv nor .parquet" in refusal(written(tmp_path / "a.xlsx", "x"))
    written(tmp_path / "own.csv", WHOLE)
    missing = refusal(tmp_path / "own.csv", validation="$NOT_SET_ANYWHERE/validation.csv")
    assert "csv.own.validation: '$NOT_SET_ANYWHERE/validation.csv'" in missing
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


@pytest.mark.parametrize(
    ("cells", "held"),
    [
        ([["a"], ["b"]], "list<element: string>"),
        ([{"a": 1}, {"a": 2}], "struct<a: int64>"),
        ([b"\xff\xfe", b"b"], "binary that are no UTF-8"),
        (pa.array([{"a": 1}, {"a": 2}], pa.struct([("a", pa.int8())])), "struct<a: int8>"),
        (pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())), "map<string, int8"),
    ],
)
def test_parquet_cells_that_are_no_text(tmp_path: Path, cells: object, held: str) -> None:
    path = tmp_path / "own.parquet"
    parquet.write_table(pa.table({"review": cells, "stars": [1, 5]}), path)
    assert f"own.parquet: column 'review' holds {held}" in refusal(path)


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
    twice = pa.table([["a"], ["b"], [1]], ["review", "review", "stars"])
    parquet.write_table(twice, path)
    assert "2 columns named 'review'" in refusal(path)
    parquet.write_table(
        pa.table({"review": [f"t{i}" for i in range(9999)], "stars": [1] * 9999}), path
    )
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
