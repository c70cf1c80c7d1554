"""A model that somebody else fine-tuned: all of a file is scored, its classes keep their order."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stages.download_glue import download_glue
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_json
from stages.settings.params import load_params
from stages.training.label_order import renumbered
from stages.workspace.outside_files import outside_files
from tests.own_file import written

ROOT = Path(__file__).parents[2]
REVIEWS = "review,stars\n" + "".join(
    f"text {i},{('negative', 'positive')[i % 2]}\n" for i in range(200)
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "own.csv", REVIEWS)
    classes("positive", "negative")
    return tmp_path


def classes(*names: str) -> None:
    """A model of these."""
    config = {"model_type": "bert", "id2label": {str(i): name for i, name in enumerate(names)}}
    written(Path("model/config.json"), json.dumps(config))


def settings(*seeds: int, **of_file: object) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    basic = {"validation": "own.csv", "text": "review", "label": "stars", "metric": "f1"}
    values |= {"tasks": ["own"], "csv": {"own": basic | of_file}}
    values["finetune"] |= {"own": {"checkpoint": "./model"}, "seeds": list(seeds or (42,))}
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def rows(split: str) -> pd.DataFrame:
    return pd.read_parquet(f"data/own/{split}.parquet")


@pytest.mark.parametrize("named", [{}, {"validation": "", "train": "own.csv"}])
def test_all_is_scored_but_what_is_for_calibration(
    project: Path, named: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings(**named)
    download_glue("own")
    assert len(rows("validation")) == 190
    assert len(rows("train")) == 10
    assert not set(rows("train")["text"]) & set(rows("validation")["text"])
    assert "10 of 200 texts are for calibration, and not scored" in capsys.readouterr().out
    settings(**named, calibration_pct=20)
    download_glue("own")
    assert len(rows("train")) == 40


def test_a_file_to_calibrate_on_leaves_the_other_whole(project: Path) -> None:
    written(project / "more.csv", REVIEWS.replace("text", "another"))
    settings(train="more.csv")
    download_glue("own")
    assert (len(rows("validation")), len(rows("train"))) == (200, 200)


def test_classes_keep_the_order_of_the_model(project: Path) -> None:
    """They stood in alphabetical order, so that what shipped had other numbers than the model."""
    settings()
    download_glue("own")
    assert read_json(Path("data/own/task.json"))["labels"] == ["positive", "negative"]
    first = rows("validation").iloc[0]
    assert (first["text"], first["label"]) == ("text 0", 1)


@pytest.mark.parametrize("names", [("Positive", "Negative"), ("POSITIVE", "negative")])
def test_the_order_is_known_by_the_names_whatever_their_case(
    project: Path, names: tuple[str, ...]
) -> None:
    classes(*names)
    settings()
    download_glue("own")
    assert read_json(Path("data/own/task.json"))["labels"] == ["positive", "negative"]


def test_numbers_are_in_order_by_themselves(project: Path) -> None:
    written(project / "own.csv", REVIEWS.replace("negative", "0").replace("positive", "1"))
    classes("LABEL_0", "LABEL_1")
    settings()
    download_glue("own")
    assert read_json(Path("data/own/task.json"))["labels"] == ["0", "1"]


def test_a_model_without_names_for_its_classes_is_asked_for_them(project: Path) -> None:
    """Alphabetical order would be a guess, wrong for one of two such models."""
    classes("LABEL_0", "LABEL_1")
    settings()
    with pytest.raises(UserError, match="nothing says which of them is 'negative'; list them"):
        download_glue("own")
    settings(labels={"positive": "positive", "negative": "negative"})
    download_glue("own")
    assert read_json(Path("data/own/task.json"))["labels"] == ["positive", "negative"]


def test_another_order_that_was_asked_for_is_told(project: Path) -> None:
    settings(labels={"negative": "negative", "positive": "positive"})
    download_glue("own")
    task = load_params().dataset("own").task
    assert renumbered("./model", task) == ("positive", "negative")
    settings(labels={"positive": "positive", "negative": "negative"})
    assert renumbered("./model", load_params().dataset("own").task) == ()


def test_another_model_makes_the_data_anew(project: Path) -> None:
    settings()
    before = outside_files("own", load_params(), {})
    assert before["settings"]["checkpoint"] == "./model"
    (project / "model").rename(project / "other")
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["finetune"]["own"]["checkpoint"] = "./other"
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    assert outside_files("own", load_params(), {}) != before


def test_a_model_is_one_whatever_the_seeds(project: Path) -> None:
    settings(1, 2, 3)
    with pytest.raises(UserError, match=r"has 3 seeds, but .* is one model, which nobody trains"):
        load_params()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"checkpoint": "", "model": "minilm-l6"}, "key 'finetune.own.batch_size' is missing"),
        ({"checkpoint": ""}, "key 'finetune.own.model' is missing"),
    ],
)
def test_what_trains_needs_its_settings(
    project: Path, missing: dict[str, str], message: str
) -> None:
    settings()
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["finetune"]["own"] = missing | {"max_length": 128}
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(UserError, match=message):
        load_params()


def test_a_training_needs_rows_to_train_on(project: Path) -> None:
    settings()
    values = yaml.safe_load(Path("params.yaml").read_text())
    values["finetune"]["own"] = values["finetune"]["mrpc"]
    Path("params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    with pytest.raises(UserError, match=r"csv\.own\.train is missing; name the file to train on"):
        load_params()


def test_a_file_is_needed(project: Path) -> None:
    settings(validation="")
    with pytest.raises(UserError, match="names no file"):
        load_params()
