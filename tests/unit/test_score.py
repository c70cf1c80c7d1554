"""`make score`: rows in, the same rows with a label out, in their order; what is bad is told."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.plumbing.command import UserError
from stages.plumbing.files import PARTIAL, sha256
from stages.running.shipped.predict import Classifier
from stages.score import results
from stages.score import rows as score_rows
from stages.score.__main__ import score
from stages.tasks import mrpc
from tests.conftest import WORDS
from tests.scoring import (
    WRITERS,
    corpus,
    run,
    scored,
    sentences,
    write_csv,
    write_json_lines,
    write_parquet,
)

ROWS = 150
BLOCK = {"block_rows": "40"}


@pytest.fixture
def export(integer_exports: dict[str, Path]) -> Path:
    return integer_exports["cola"]


def labels(export: Path, texts: list) -> list[str]:
    return [label for label, _ in Classifier(export)(texts)]


class TestFormats:
    @pytest.mark.parametrize("ending", WRITERS)
    def test_each_gives_its_rows_with_the_labels_of_predict(
        self, ending: str, export: Path, tmp_path: Path
    ) -> None:
        rows = corpus(ROWS)
        WRITERS[ending](tmp_path / f"in{ending}", rows)
        found = scored(tmp_path / f"in{ending}", tmp_path / "out.parquet", export, **BLOCK)
        assert found["id"].tolist() == rows["id"]
        assert found["sentence"].tolist() == rows["sentence"]
        assert found["label"].tolist() == labels(export, rows["sentence"])
        assert len(set(found["label"])) == 2
        assert list(found.columns) == ["id", "sentence", "label"]
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("out")] == [
            "out.parquet"
        ]

    def test_pairs_and_the_probability_of_each_class(
        self, integer_exports: dict[str, Path], tmp_path: Path
    ) -> None:
        pairs = {"sentence1": sentences(ROWS, 1), "sentence2": sentences(ROWS, 2)}
        write_parquet(tmp_path / "in.parquet", pairs)
        found = scored(
            tmp_path / "in.parquet",
            tmp_path / "out.parquet",
            integer_exports["mrpc"],
            probabilities=True,
        )
        classes = mrpc.DATASET.task.labels
        shares = found[[f"probability_{name}" for name in classes]].to_numpy()
        expected = Classifier(integer_exports["mrpc"])(list(zip(*pairs.values(), strict=True)))
        assert found["label"].tolist() == [label for label, _ in expected]
        np.testing.assert_allclose(shares.max(1), [share for _, share in expected], atol=1e-6)
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)

    def test_only_the_columns_asked_for_come_out_and_another_may_hold_the_text(
        self, export: Path, tmp_path: Path
    ) -> None:
        rows = corpus(5) | {"label": ["mine"] * 5}
        rows["review"] = rows.pop("sentence")
        write_csv(tmp_path / "in.csv", rows)
        found = scored(
            tmp_path / "in.csv", tmp_path / "out.parquet", export, text="review", columns="id"
        )
        assert list(found.columns) == ["id", "label"]
        assert found["label"].tolist() == labels(export, rows["review"])
        both = scored(
            tmp_path / "in.csv", tmp_path / "all.parquet", export, text="review", prefix="our_"
        )
        assert list(both.columns) == ["id", "label", "review", "our_label"]

    def test_columns_of_parquet_and_json_keep_their_types(
        self, export: Path, tmp_path: Path
    ) -> None:
        rows = corpus(4) | {
            "price": [1.5, 2, None, 4],
            "stars": [1, 2, 3, None],
            "sold": [True, None, False, True],
            "tags": [["a"], [], None, ["b", "ä"]],
        }
        write_json_lines(tmp_path / "in.jsonl", rows)
        scored(tmp_path / "in.jsonl", tmp_path / "json.parquet", export)
        types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "json.parquet")}
        assert types == {
            "id": "string",
            "sentence": "string",
            "price": "double",
            "stars": "int64",
            "sold": "bool",
            "tags": "string",
            "label": "string",
        }
        table = pq.read_table(tmp_path / "json.parquet")
        assert table["tags"].to_pylist() == ['["a"]', "[]", None, '["b", "ä"]']
        assert table["stars"].to_pylist() == rows["stars"]
        given = pa.table(rows | {"id": pa.array(rows["id"]).dictionary_encode()})
        pq.write_table(given, tmp_path / "in.parquet")
        scored(tmp_path / "in.parquet", tmp_path / "parquet.parquet", export)
        kept = pq.read_table(tmp_path / "parquet.parquet").drop_columns("label")
        assert kept.to_pylist() == given.to_pylist()
        assert kept.schema.types == given.schema.types

    def test_quotes_that_hold_line_ends_and_windows_line_ends(
        self, export: Path, tmp_path: Path
    ) -> None:
        texts = ['two\nlines "quoted", a comma', "plain", "", "x\r\ny", 'a "', "\n\n"]
        rows = {"sentence": texts * 20, "id": [str(i) for i in range(120)]}
        pd.DataFrame(rows).to_csv(tmp_path / "in.csv", index=False, lineterminator="\r\n")
        data = b"\xef\xbb\xbf" + (tmp_path / "in.csv").read_bytes() + b"\r\n\r\n"
        (tmp_path / "in.csv").write_bytes(data)
        found = scored(tmp_path / "in.csv", tmp_path / "out.parquet", export, block_rows="7")
        assert found["sentence"].tolist() == rows["sentence"]
        assert found["id"].tolist() == rows["id"]

    def test_another_encoding_delimiter_and_no_quotes(self, export: Path, tmp_path: Path) -> None:
        text = 'id;sentence\n1;"bab 中\n2;cob" 文\n'
        (tmp_path / "in.csv").write_bytes(text.encode("gbk"))
        options = {"encoding": "gbk", "delimiter": ";", "quote": "none"}
        found = scored(tmp_path / "in.csv", tmp_path / "out.parquet", export, **options)
        assert found["sentence"].tolist() == ['"bab 中', 'cob" 文']

    def test_a_folder_and_a_glob_are_files_in_the_order_of_their_names(
        self, export: Path, tmp_path: Path
    ) -> None:
        folder = tmp_path / "in"
        (folder / "b").mkdir(parents=True)
        for name, seed in (("b/2.csv", 2), ("1.csv", 1), ("3.csv", 3)):
            write_csv(folder / name, corpus(30, seed))
        for name in ("_SUCCESS", ".hidden.csv", "notes.txt", "0.csv"):
            (folder / name).touch()
        whole = scored(folder, tmp_path / "out.parquet", export)
        expected = [text for seed in (1, 3, 2) for text in sentences(30, seed)]
        assert whole["sentence"].tolist() == expected
        some = scored(folder / "[13].csv", tmp_path / "some.parquet", export)
        assert some["sentence"].tolist() == expected[:60]

    def test_a_folder_holds_files_of_many_blocks_each(
        self, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(results, "FILE_ROWS", 80)
        rows = corpus(ROWS)
        write_csv(tmp_path / "in.csv", rows)
        found = scored(tmp_path / "in.csv", tmp_path / "out", export, **BLOCK)
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            "part-00000.parquet",
            "part-00001.parquet",
        ]
        assert found["id"].tolist() == rows["id"]

    def test_what_comes_out_names_its_model(self, export: Path, tmp_path: Path) -> None:
        write_csv(tmp_path / "in.csv", corpus(3))
        scored(tmp_path / "in.csv", tmp_path / "out.parquet", export)
        facts = pq.read_schema(tmp_path / "out.parquet").metadata
        assert facts[b"model_manifest_sha256"].decode() == sha256(export / "manifest.json")
        assert facts[b"model"] == b"cola, ibert"

    def test_a_corpus_without_rows_gives_none(self, export: Path, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text("id,sentence\n")
        found = scored(tmp_path / "in.csv", tmp_path / "out.parquet", export)
        assert list(found.columns) == ["id", "sentence", "label"]
        assert not len(found)


class TestTexts:
    def test_empty_missing_and_long_ones_are_defined_counted_and_told(
        self, export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        long = " ".join(WORDS)
        texts = ["bab", "", None, "  ", long, None, "cob"]
        write_parquet(tmp_path / "in.parquet", {"sentence": texts})
        found = scored(
            tmp_path / "in.parquet", tmp_path / "out.parquet", export, probabilities=True
        )
        given = [text for text in texts if text is not None]
        assert found["label"].isna().tolist() == [text is None for text in texts]
        assert found["label"].dropna().tolist() == labels(export, given)
        assert found.filter(like="probability").isna().sum().tolist() == [2, 2]
        said = capsys.readouterr().out
        assert "7 rows" in said
        assert "2 rows with an empty text" in said
        assert "2 rows without a text (null), label null" in said
        assert "1 rows longer than 32 tokens, cut there" in said

    def test_a_missing_key_of_json_lines_is_a_null(self, export: Path, tmp_path: Path) -> None:
        lines = ['{"id": 1, "sentence": "bab"}', '{"id": 2}', '{"id": 3, "sentence": null}']
        (tmp_path / "in.jsonl").write_text("\n".join(lines))
        found = scored(tmp_path / "in.jsonl", tmp_path / "out.parquet", export)
        assert found["id"].tolist() == [1, 2, 3]
        assert found["label"].isna().tolist() == [False, True, True]


# Kind of file, its content as a text with a bad row, number of that row, what is said of it.
BAD_ROWS = {
    "too many cells": (".csv", b"id,sentence\n1,bab\n2,cob,dib\n3,fub\n", 3, "3 cells instead"),
    "too few cells": (".tsv", b"id\tsentence\n1\tbab\n2\n3\tfub\n", 3, "1 cells instead of 2"),
    "no UTF-8": (".csv", b"id,sentence\n1,bab\n2,\xff\n3,fub\n", 3, "byte 0xFF is not utf-8"),
    "a quote that goes on": (".csv", b'id,sentence\n1,bab\n2,"c"ob\n3,fub\n', 3, "a quote is not"),
    "a quote that is not closed": (".csv", b'id,sentence\n1,bab\n3,fub\n2,"cob\n', 4, "a quote"),
    "no JSON": (".jsonl", b'{"id":"1","sentence":"bab"}\n{"id"\n{"id":"3","sentence":"fub"}', 2,
                "no JSON: "),
    "no object": (".jsonl", b'{"id":"1","sentence":"bab"}\n[2]\n{"id":"3","sentence":"fub"}', 2,
                  "no JSON object, but [2]"),
    "a number for a text": (".jsonl", b'{"id":"1","sentence":"bab"}\n{"id":"2","sentence":5}\n'
                            b'{"id":"3","sentence":"fub"}\n{"id":"x","sentence":"a"}', 2, ""),
    "half a character": (".jsonl", b'{"id":"1","sentence":"bab"}\n'
                         b'{"id":"2","sentence":"\\ud800"}\n{"id":"3","sentence":"fub"}', 2,
                         "half of a surrogate pair"),
    "JSON that is no UTF-8": (".jsonl", b'{"id":"1","sentence":"bab"}\n{"id":"2","sentence":"\xff"}'
                              b'\n{"id":"3","sentence":"fub"}', 2, "byte 0xFF is not utf-8"),
}  # fmt: skip


class TestBadRows:
    @pytest.mark.parametrize("kind", BAD_ROWS)
    def test_one_stops_all_with_one_line_of_file_and_row_or_is_skipped(
        self, kind: str, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ending, content, row, reason = BAD_ROWS[kind]
        monkeypatch.setattr("stages.score.json_lines.SAMPLE", 1)  # the first row decides
        file, out = tmp_path / f"in{ending}", tmp_path / "out.parquet"
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"^in{ending} row {row}: ") as raised:
            scored(file, out, export)
        assert reason in str(raised.value)
        assert "--on-error skip" in str(raised.value)
        assert not out.exists()
        found = scored(file, out, export, on_error="skip")
        assert found["id"].tolist()[:2] == ["1", "3"]
        assert found["label"].tolist()[:2] == labels(export, ["bab", "fub"])
        (line,) = (tmp_path / "out.skipped.jsonl").read_text().splitlines()
        skipped = json.loads(line)
        assert (skipped["file"], skipped["row"]) == (str(file), row)
        assert reason in skipped["reason"]
        assert skipped["content"]

    def test_text_of_parquet_that_is_no_utf_8(self, export: Path, tmp_path: Path) -> None:
        texts = pa.array([b"bab", b"\xff", b"fub"]).cast(pa.string(), safe=False)
        pq.write_table(pa.table({"id": [1, 2, 3], "sentence": texts}), tmp_path / "in.parquet")
        with pytest.raises(UserError, match=r"^in.parquet row 2: 'sentence' is not utf-8"):
            scored(tmp_path / "in.parquet", tmp_path / "out.parquet", export)
        found = scored(tmp_path / "in.parquet", tmp_path / "out.parquet", export, on_error="skip")
        assert found["id"].tolist() == [1, 3]

    def test_all_bad_rows_are_counted_and_the_others_keep_their_order(
        self, export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lines = [f"{i},{text}" for i, text in enumerate(sentences(ROWS))]
        for i in range(0, ROWS, 7):
            lines[i] += ",more"
        (tmp_path / "in.csv").write_text("id,sentence\n" + "\n".join(lines))
        found = scored(
            tmp_path / "in.csv", tmp_path / "out.parquet", export, on_error="skip", **BLOCK
        )
        assert found["id"].tolist() == [str(i) for i in range(ROWS) if i % 7]
        skipped = map(json.loads, (tmp_path / "out.skipped.jsonl").read_text().splitlines())
        assert [each["row"] for each in skipped] == [i + 2 for i in range(0, ROWS, 7)]
        assert "22 rows bad, left out, in" in capsys.readouterr().out

    def test_after_a_stop_the_same_goes_on_and_skips(self, export: Path, tmp_path: Path) -> None:
        write_csv(tmp_path / "in.csv", corpus(ROWS))
        with (tmp_path / "in.csv").open("a") as file:
            file.write("bad\n")
        with pytest.raises(UserError, match=r"^in.csv row 152: 1 cells"):
            scored(tmp_path / "in.csv", tmp_path / "out.parquet", export, **BLOCK)
        kept = list((tmp_path / f"out.parquet{PARTIAL}" / "blocks").iterdir())
        assert len(kept) == 3
        found = scored(
            tmp_path / "in.csv", tmp_path / "out.parquet", export, on_error="skip", **BLOCK
        )
        assert len(found) == ROWS


class TestSchemas:
    def test_a_column_that_is_missing_or_there_twice(self, export: Path, tmp_path: Path) -> None:
        for name, content, message in (
            ("none.csv", "id,sentense\n1,a\n", "no column 'sentence'.*did you mean 'sentense'"),
            ("twice.csv", "sentence,sentence\n1,a\n", "two columns 'sentence'"),
            ("empty.csv", "", "is empty"),
            ("numbers.jsonl", '{"sentence": 1}\n', "'sentence' is int64, not text"),
            ("none.jsonl", "\n", "none of its first"),
            ("no.parquet", "nothing", "no.parquet: no Parquet file, or a damaged one"),
            ("label.csv", "sentence,label\na,b\n", "has a column 'label' itself.*--prefix"),
        ):
            (tmp_path / name).write_text(content)
            with pytest.raises(UserError, match=message):
                scored(tmp_path / name, tmp_path / "out.parquet", export)

    def test_files_must_agree(self, export: Path, tmp_path: Path) -> None:
        write_parquet(tmp_path / "1.parquet", {"sentence": ["a"], "n": [1]})
        write_parquet(tmp_path / "2.parquet", {"sentence": ["a"], "n": ["1"]})
        out = tmp_path / "out"
        with pytest.raises(UserError, match=r"2.parquet: 'n' is string, but int64 in 1.parquet"):
            scored(tmp_path / "*.parquet", out, export)
        assert len(scored(tmp_path / "*.parquet", out, export, columns="sentence")) == 2
        write_csv(tmp_path / "1.csv", {"sentence": ["a"]})
        write_csv(tmp_path / "2.csv", {"sentence": ["a"], "n": ["1"]})
        with pytest.raises(UserError, match=r"column 'n', which 1.csv has not"):
            scored(tmp_path / "*.csv", tmp_path / "csv", export)
        with pytest.raises(UserError, match="files of 2 kinds"):
            scored(tmp_path, tmp_path / "both", export)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"workers": "none"}, "--workers is 'none'; give a whole number"),
            ({"engine": "spark"}, "--engine is 'spark'"),
            ({"on_error": "go"}, "--on-error is 'go'"),
            ({"encoding": "utf-16"}, "--encoding is 'utf-16'"),
            ({"delimiter": "||"}, "--delimiter is"),
            ({"text": "id,sentence"}, "--text names 2 columns"),
            ({"columns": "idd"}, "no column 'idd'.*--columns"),
            ({"address": "somewhere:1"}, "--address is 'somewhere:1', which is for --engine ray"),
        ],
    )
    def test_an_option_that_means_nothing(
        self, options: dict[str, str], message: str, export: Path, tmp_path: Path
    ) -> None:
        write_csv(tmp_path / "in.csv", corpus(3))
        with pytest.raises(UserError, match=message):
            scored(tmp_path / "in.csv", tmp_path / "out.parquet", export, **options)
        assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]

    def test_a_corpus_or_model_that_is_not_there(self, export: Path, tmp_path: Path) -> None:
        write_csv(tmp_path / "in.csv", corpus(3))
        (tmp_path / "in.csv.gz").touch()
        out = tmp_path / "out.parquet"
        for named, message in (
            ("no.csv", "is no file, no folder"),
            ("in.csv.gz", "ends in none of"),
            ("*.tsv", "no glob that fits any"),
            ("what://bucket/in.csv", "what"),
        ):
            address = named if "://" in named else str(tmp_path / named)
            with pytest.raises(UserError, match=message):
                scored(address, out, export)
        with pytest.raises(UserError, match="OUT is 's3://bucket/out'; name a place on this"):
            score(str(tmp_path / "in.csv"), "s3://bucket/out", model=str(export))
        with pytest.raises(UserError, match="--model is ''"):
            score(str(tmp_path / "in.csv"), str(out), model="")
        with pytest.raises(UserError, match="holds no export"):
            scored(tmp_path / "in.csv", out, tmp_path)
        broken = shutil.copytree(export, tmp_path / "broken")
        (broken / "model.safetensors").write_bytes(b"")
        with pytest.raises(UserError, match="not the one that was exported"):
            scored(tmp_path / "in.csv", out, broken)


class TestResuming:
    def test_what_is_done_is_not_done_again(
        self,
        export: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        file, out = write_csv(tmp_path / "in.csv", corpus(ROWS)), tmp_path / "out.parquet"
        with monkeypatch.context() as patched:
            patched.setattr("stages.score.__main__.assemble", fails)
            with pytest.raises(OSError, match="out of luck"):
                scored(file, out, export, **BLOCK)
        blocks = tmp_path / f"out.parquet{PARTIAL}" / "blocks"
        assert len(list(blocks.iterdir())) == 4
        (blocks / "000000002.parquet").rename(blocks / f"000000002.parquet{PARTIAL}")
        whole = scored(file, out, export, **BLOCK)
        assert "110 of 150 rows are done already" in capsys.readouterr().out
        assert whole["id"].tolist() == corpus(ROWS)["id"]
        assert not blocks.exists()
        uninterrupted = tmp_path / "other.parquet"
        scored(file, uninterrupted, export, **BLOCK)
        assert uninterrupted.read_bytes() == out.read_bytes()

    def test_another_job_in_the_same_place_is_refused(
        self, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, out = write_csv(tmp_path / "in.csv", corpus(ROWS)), tmp_path / "out.parquet"
        with monkeypatch.context() as patched:
            patched.setattr("stages.score.__main__.assemble", fails)
            with pytest.raises(OSError, match="out of luck"):
                scored(file, out, export)
        with pytest.raises(UserError, match=r"of another job \(other probabilities\); remove it"):
            scored(file, out, export, probabilities=True)
        write_csv(file, corpus(ROWS, seed=1))
        with pytest.raises(UserError, match=r"of another job \(other files\)"):
            scored(file, out, export)
        shutil.rmtree(tmp_path / f"out.parquet{PARTIAL}")
        scored(file, out, export)
        with pytest.raises(UserError, match="exists and is not what this corpus"):
            scored(file, out, export, columns="id")

    def test_a_whole_result_is_left_alone(
        self, export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, out = write_csv(tmp_path / "in.csv", corpus(5)), tmp_path / "out.parquet"
        scored(file, out, export)
        before = out.stat().st_mtime_ns
        os.utime(file)  # touched, as by a checkout; its bytes are the same
        scored(file, out, export)
        assert out.stat().st_mtime_ns == before
        assert "holds all of it already" in capsys.readouterr().out

    def test_a_corpus_that_changes_meanwhile_is_noticed(
        self, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = write_csv(tmp_path / "in.csv", corpus(5))

        def meddle(*_: object) -> None:
            write_csv(file, corpus(5, seed=1))

        monkeypatch.setattr("stages.score.__main__.do_blocks", meddle)
        with pytest.raises(UserError, match="was changed while it was scored"):
            scored(file, tmp_path / "out.parquet", export)

    def test_what_is_written_may_not_be_part_of_the_corpus(
        self, export: Path, tmp_path: Path
    ) -> None:
        file = write_parquet(tmp_path / "in.parquet", corpus(5))
        for named, out in ((tmp_path, tmp_path / "out.parquet"), (file, file)):
            with pytest.raises(UserError, match="lies in the corpus itself"):
                scored(named, out, export)
        assert list(tmp_path.iterdir()) == [file]

    def test_two_at_once_into_one_place_are_refused(self, export: Path, tmp_path: Path) -> None:
        from filelock import FileLock

        file = write_csv(tmp_path / "in.csv", corpus(5))
        (tmp_path / f"out.parquet{PARTIAL}").mkdir()
        with (
            FileLock(tmp_path / f"out.parquet{PARTIAL}" / "lock"),
            pytest.raises(UserError, match="another process is scoring into"),
        ):
            scored(file, tmp_path / "out.parquet", export)


def fails(*_: object) -> None:
    raise OSError("out of luck")


class TestCommand:
    def test_several_processes_give_the_same_bytes_as_one(
        self, export: Path, tmp_path: Path
    ) -> None:
        write_parquet(tmp_path / "in.parquet", corpus(ROWS))
        outs = {}
        for workers in (1, 2):
            outs[workers] = tmp_path / f"{workers}.parquet"
            done = run(
                tmp_path / "in.parquet", outs[workers], "--model", export, "--workers", workers,
                "--probabilities", "--block-rows", 16,
            )  # fmt: skip
            assert done.code == 0, done.err
            assert "texts per second" in done.out
            assert "150/150" in done.err
        assert outs[1].read_bytes() == outs[2].read_bytes()

    def test_what_is_wrong_is_one_line_and_2(self, export: Path, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text("id,sentence\n1,a,b\n")
        done = run(tmp_path / "in.csv", tmp_path / "out", "--model", export)
        assert done.code == 2
        last = done.err.splitlines()[-1]
        assert last.startswith("score: in.csv row 2: 3 cells instead of 2")
        assert "Traceback" not in done.err

    def test_a_block_holds_few_bytes_however_long_the_texts(
        self, export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(score_rows, "BLOCK_BYTES", 2000)
        monkeypatch.setattr("stages.score.parquet_file.BLOCK_BYTES", 2000)
        rows = corpus(ROWS)
        for ending, write in WRITERS.items():
            file = write(tmp_path / f"in{ending}", rows)
            found = scored(file, tmp_path / f"{ending}.parquet", export)
            assert found["id"].tolist() == rows["id"]
