"""The user's own file through stage download_glue: what is held out, params.yaml, memory."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stages.download_glue import download_glue
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_json
from stages.settings.params import load_params
from stages.settings.writing import merge
from tests.own_file import WHOLE, all_rows, fetch, split, written


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
        assert found[0] == found[1] == {"text 35", "text 4", "text 9", "text 36"}  # for ever

    def test_copies_of_a_text_stay_on_one_side(self, tmp_path: Path) -> None:
        rows = [f"text {i % 150},{i % 2}\n" for i in range(600)]  # each text four times
        rows += [f"torn,{i % 2}\n" for i in range(20)]
        fetched = fetch(written(tmp_path / "own.csv", "review,stars\n" + "".join(rows)))
        held_out, train = split(fetched, "validation"), split(fetched, "train")
        assert not set(held_out["text"]) & set(train["text"])
        assert "torn" in set(train["text"])
        assert held_out["label"].value_counts().to_dict() == {0: 28, 1: 28}  # of 31, in fours


ROOT = Path(__file__).parents[2]
CSV = {"train": "own.csv", "text": "review", "label": "stars", "metric": "weighted_f1"}
TRAINING = yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"]["mrpc"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a params.yaml that names one file."""
    monkeypatch.chdir(tmp_path)
    set_params(tmp_path, {})
    return tmp_path


def set_params(folder: Path, changes: dict) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    merge(values, {"tasks": ["own"], "csv": {"own": dict(CSV)}, "finetune": {"own": TRAINING}})
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
    assert facts["splits"]["train"]["classes"]["good"] == 18
    assert facts["left_out"] == {"no text in train": 1}
    assert facts["source"] == "file"
    assert str(project) not in Path("metrics/own/dataset.json").read_text()
    assert "own: 1 rows left out: no text in train" in capsys.readouterr().out


def test_a_second_recipe_reads_the_same_file(project: Path) -> None:
    written(project / "own.csv", WHOLE)
    set_params(project, {"tasks": ["own", "own__long"], "finetune": {"own__long": TRAINING}})
    for name in load_params().tasks:
        download_glue(name)
    assert read_json(Path("data/own__long/task.json"))["name"] == "own__long"
    first, second = (pd.read_parquet(f"data/{name}/train.parquet") for name in load_params().tasks)
    pd.testing.assert_frame_equal(first, second)


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
        (
            {"metric": "f2"},
            "csv.own.metric is 'f2': Value error, no such metric; did you mean 'f1'?",
        ),
        ({"train": ""}, "csv.own.train is missing; name the file to train on"),
        ({"encoding": "gkb"}, "csv.own.encoding is 'gkb': Value error, no such encoding"),
        ({"encoding": "base64"}, "csv.own.encoding is 'base64': Value error, no such encoding"),
        ({"delimiter": ", "}, "csv.own.delimiter is ', ': Value error, take one character"),
        ({"delimiter": "x"}, "csv.own.delimiter is 'x': Value error, take one character"),
        ({"delimiter": ";", "quote": ";"}, "csv.own.quote is ';': Value error, it separates"),
        ({"quote": ","}, "csv.own.quote is ',': Value error, it separates the cells too"),
        ({"label": "review"}, "csv.own.label is 'review': Value error, 'text' is the same column"),
        ({"text_pair": "stars"}, "csv.own.text_pair is 'stars': Value error, 'label' is the same"),
        ({"id": "review"}, "csv.own.id is 'review': Value error, 'text' is the same column"),
        ({"columns": ["a", "a"]}, "csv.own.columns is ['a', 'a']: Value error, 'a' stands there"),
        ({"columns": ["review", "x"]}, "Value error, 'columns' lacks 'stars'; known: review, x"),
        ({"validation": "./own.csv"}, "csv.own.validation is './own.csv': Value error, 'train' is"),
        ({"calibration_pct": True}, "csv.own.calibration_pct is True: Input should be a valid num"),
        ({"labels": {"a": 1, "b": 1.0}}, "the classes '1' and '1.0' are one"),
        ({"labels": {"a": " ", "b": "x"}}, "the class of 'a' is ' '; put its name in quotes"),
        ({"labels": {"a": "x\ny", "b": "x"}}, "holds an end of line or a control character"),
        ({"labels": {"1": "bad"}}, "two classes are needed at least"),
        ({"labels": {"1": "bad", "5": False}}, "the class of '5' is False; put its name in quotes"),
        ({"labels": {"1": "x", "5": "y"}, "metric": "pearson"}, "a regression has no classes"),
        ({"labels": {"1": "bad", "1.0": "good"}}, "one value stands there twice"),
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
        ("My-Reviews", "csv: 'My-Reviews' is no name for a task; take small letters"),
        ("own__long", "csv.own__long is no name for a file's task"),
        ("", "is no name for a task"),
        ("own_", "csv: 'own_' is no name for a task"),
        ("a" * 61, "60 characters at most"),
        ("code", "csv: 'code' is a folder of the pipeline's own; give the task another one"),
        ("outside", "csv: 'outside' is a folder of the pipeline's own"),
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


@pytest.mark.slow
def test_a_million_rows_take_less_than_a_gibibyte(project: Path) -> None:
    texts = [" ".join(f"word{(i * j) % 997}" for j in range(20 + i % 20)) for i in range(1000)]
    block = "".join(f'"BLOCK {text}",{i % 5}\n' for i, text in enumerate(texts))
    with (project / "own.csv").open("w") as file:
        file.write("review,stars\n")
        file.writelines(block.replace("BLOCK", str(i)) for i in range(1000))
    assert (project / "own.csv").stat().st_size > 200e6
    (project / "stages").symlink_to(ROOT / "stages")
    command = [sys.executable, "-c", GROWTH]
    result = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert result.returncode == 0, result.stderr
    assert "'train': 900000, 'validation': 100000" in result.stdout
    assert int(result.stdout.split("MiB")[1]) < 1024
