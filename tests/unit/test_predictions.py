"""Predictions of many rows, read in pieces: what is kept of them, and which texts are shown."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.dataset.task import Task
from stages.measure import accuracy, statistics
from stages.plumbing import paths
from stages.reporting import predictions as of_task
from stages.reporting.page.changed_texts import changed_texts
from stages.reporting.predictions import Predictions

TASK = Task(
    name="own",
    text_columns=("text",),
    labels=("bad", "good"),
    metrics=("accuracy",),
    licence="",
    description="",
    scored=("validation", "test"),
)
ROWS = 30
CHANGED = {4: 9.0, 11: 5.0, 25: 7.0}  # row of validation -> how far its logits move


def tables() -> dict[str, pd.DataFrame]:
    """Of two models, as stage evaluate writes them; an id may stand there twice."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(2 * ROWS, 2)).round(3)
    logits[list(CHANGED)] = [1, 0]
    other = logits.copy()
    for row, far in CHANGED.items():
        other[row, 1] += far
    made = {}
    for name, values in (("fp32", logits), ("small", other)):
        facts = {
            "split": ["validation"] * ROWS + ["test"] * ROWS,
            "id": [f"{i % 20:02}" for i in range(ROWS)] * 2,
            "label": [i % 2 for i in range(2 * ROWS)],
            "predicted": values.argmax(axis=1),
        }
        made[name] = pd.DataFrame(facts | {f"logit_{i}": values[:, i] for i in (0, 1)})
    return made


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, pd.DataFrame]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(of_task, "PIECE", 7)
    found = tables()
    for name, table in found.items():
        file = paths.predictions("own", 42, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(file, index=False)
    ids = found["fp32"]["id"][:ROWS]
    texts = pd.DataFrame({"id": ids, "text": [f"text {i}" for i in range(ROWS)], "label": 0})
    paths.split("own", "validation").parent.mkdir(parents=True)
    texts.to_parquet(paths.split("own", "validation"), index=False)
    return found


def test_answers_are_those_of_the_split(made: dict[str, pd.DataFrame]) -> None:
    predictions = Predictions(TASK, [42], ["small"], "fp32")
    for split in TASK.scored:
        fp32, small = (table[table["split"] == split] for table in made.values())
        found = predictions.answers(42, "small", split)
        assert found.labels.tolist() == fp32["label"].tolist()
        assert found.fp32.tolist() == fp32["predicted"].tolist()
        assert found.variant.tolist() == small["predicted"].tolist()
        rows = np.array([0, 6, 7, 29])
        expected = small[["logit_0", "logit_1"]].to_numpy()[rows]
        np.testing.assert_array_equal(predictions.logits(42, "small", split, rows), expected)
    assert predictions.logits(42, "small", "test", np.zeros(0, int)).shape == (0, 2)


def test_other_rows_are_no_pair(made: dict[str, pd.DataFrame]) -> None:
    file = paths.predictions("own", 42, "small")
    made["small"].assign(id=[*"abc"] * 20).to_csv(file, index=False)
    with pytest.raises(AssertionError, match="keeps the rows in order"):
        Predictions(TASK, [42], ["small"], "fp32").answers(42, "small", "validation")


@pytest.mark.usefixtures("made")
def test_changed_texts_are_found_by_their_place_the_farthest_first() -> None:
    predictions = Predictions(TASK, [42], ["small"], "fp32")
    (found,) = changed_texts(TASK, 42, ["small"], predictions)
    assert (found.total, found.of) == (3, ROWS)
    assert [one.texts for one in found.shown] == [("text 4",), ("text 25",), ("text 11",)]
    assert [one.id for one in found.shown] == ["04", "05", "11"]


@pytest.mark.parametrize("classes", [2, 7])
def test_blocks_change_no_score(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(500, classes)).astype(np.float32)
    labels, other = random.integers(classes, size=(2, 500))
    cells = statistics.Cells.of("accuracy", labels, [logits.argmax(axis=1), other])
    counts = random.standard_gamma(cells.counts, (20, len(cells.counts)))
    lost, scores = accuracy.losses(labels, logits), cells.scores_of(counts)
    monkeypatch.setattr(accuracy, "BLOCK", 30)
    monkeypatch.setattr(statistics, "BLOCK", 3 * len(cells.cells))
    np.testing.assert_array_equal(accuracy.losses(labels, logits), lost)
    for found, expected in zip(cells.scores_of(counts), scores, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_tally_of_windows_scores_as_the_whole(outputs: int) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(100, outputs)).astype(np.float32)
    labels = random.integers(3, size=100) if outputs > 1 else random.normal(size=100)
    names = ("accuracy", "weighted_f1") if outputs > 1 else ("pearson", "spearman")
    tally = accuracy.Tally()
    for part in (slice(0, 40), slice(40, 70), slice(70, 100)):
        tally.add(labels[part], logits[part])
    assert tally.scores(names) == accuracy.score(names, labels, logits)
