"""`make check` as a whole: from a model and a file to the verdict, in a throw-away repository."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import WORDS
from tests.pipeline.conftest import SETTINGS, Repo

TEXTS = 60


@pytest.fixture
def bare(fresh: Repo, tmp_path: Path) -> Repo:
    """A checkout in which nothing ran, a model of classes of its own, and labelled texts."""
    repo = fresh.copy(tmp_path / "project")
    config = repo.folder / "tiny-bert/config.json"
    facts = json.loads(config.read_text())
    facts["id2label"] = {"0": "positive", "1": "negative"}
    facts["label2id"] = {"positive": 0, "negative": 1}
    config.write_text(json.dumps(facts))
    random = np.random.default_rng(0)
    rows = [
        f"{' '.join(random.permutation(WORDS))},{('negative', 'positive')[i % 2]}\n"
        for i in range(TEXTS)
    ]
    (repo.folder / "reviews.csv").write_text("review,mood\n" + "".join(rows))
    (repo.folder / "presets").mkdir()
    few = {"fp32": {}, "int8_dynamic": {"engine": "x86"}}
    (repo.folder / "presets/check.yaml").write_text(
        yaml.safe_dump({"quantize": few, "latency": SETTINGS["latency"]})
    )
    # So small a model may well give one answer, and its logits hardly differ.
    repo.set_params({"evaluate": {"min_other_answers_pct": 0}})
    return repo


def test_from_a_model_and_a_file_to_the_verdict(bare: Repo) -> None:
    output = bare.run("python", "-m", "stages.commands.check", "./tiny-bert", "reviews.csv")
    assert "reviews.csv: the text is 'review', the label 'mood'" in output
    assert "check: " in output
    assert " in all, if the machine stays as it is" in output
    last = [line for line in output.splitlines() if line.startswith("reviews ")]
    assert [line.split()[1] for line in last[-5:]] == [
        "ships:", "loses:", "faster:", "smaller:", "read:",
    ]  # fmt: skip
    dataset = bare.metric("reviews/dataset.json")
    assert dataset["splits"]["train"]["rows"] == 4  # for calibration: 5 % of each class
    assert dataset["splits"]["validation"]["rows"] == TEXTS - 4
    built = json.loads((bare.folder / "models/reviews/seed_42/fp32/manifest.json").read_text())
    assert built["recipe"]["model"] == "tiny-bert"
    assert built["recipe"]["trained"] is False
    task = json.loads((bare.folder / "data/reviews/task.json").read_text())
    assert task["labels"] == ["positive", "negative"]  # as the model has them
    card = (bare.folder / "exports/reviews/README.md").read_text()
    assert "4 rows for calibration" in card
    assert "0 = positive, 1 = negative" in card
    assert str(bare.folder) not in card


def test_a_refusal_leaves_everything_as_it_was(bare: Repo) -> None:
    before = bare.contents("params.yaml", "dvc.yaml")
    said = bare.fails("python", "-m", "stages.commands.check", "./tiny-bert", "review.csv")
    assert said.startswith("commands.check: DATA='review.csv'")
    assert len(said.splitlines()) == 1
    assert bare.contents("params.yaml", "dvc.yaml") == before
    assert not (bare.folder / "data/review").exists()
