"""The GLUE tasks from a mirror folder, with the traps that the official files have."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from stages import tasks
from stages.dataset.dataset import UNLABELLED, Fetched
from stages.dataset.task import read_task
from stages.download_glue import download_glue
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_json
from tests.glue_files import GLUE, LEFT_OUT, ROWS, count, make_rows, splits_of, tables, write_mirror

ROOT = Path(__file__).parents[2]
LABELS = {  # as `datasets.load_dataset("nyu-mll/glue", ...)` names them
    "cola": ("unacceptable", "acceptable"),
    "sst2": ("negative", "positive"),
    "stsb": (),
    "qqp": ("not_duplicate", "duplicate"),
    "mnli": ("entailment", "neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
    "wnli": ("not_entailment", "entailment"),
}


def settings(mirror: Path, counts: str = "published") -> SimpleNamespace:
    return SimpleNamespace(sources=["mirror"], mirror=str(mirror), counts=counts)


def fetch(mirror: Path, task: str) -> Fetched:
    return tasks.dataset(task, {}).fetch(settings(mirror))


def check(mirror: Path, task: str, counts: str = "published") -> None:
    """As the stage does."""
    dataset = tasks.dataset(task, {})
    dataset.check(tables(dataset.fetch(settings(mirror))), settings(mirror, counts))


@pytest.mark.parametrize("task", GLUE)
@pytest.mark.parametrize(("newline", "bom"), [("\n", ""), ("\r\n", "\ufeff")])
def test_every_row_arrives_as_it_was_written(
    tmp_path: Path, task: str, newline: str, bom: str
) -> None:
    """Unclosed quotes, U+2028 and U+0085 within sentences, trailing blanks and all."""
    found = tables(fetch(write_mirror(tmp_path, task, newline=newline, bom=bom), task))
    assert list(found) == list(splits_of(task))
    for split, rows in found.items():
        written = make_rows(task, split, count(task, split, ROWS))
        assert [tuple(texts) for texts in rows.iloc[:, 1:-1].to_numpy()] == [
            row.texts for row in written
        ]
        labels = [UNLABELLED if split.startswith("test") else row.label for row in written]
        assert rows["label"].tolist() == labels
        assert rows["id"].is_unique


@pytest.mark.parametrize("task", ["stsb", "rte", "cola"])
def test_a_test_file_may_be_missing_since_it_has_no_labels(tmp_path: Path, task: str) -> None:
    mirror = write_mirror(tmp_path, task)
    (file,) = mirror.rglob("test.tsv")
    file.unlink()
    assert list(fetch(mirror, task).splits) == ["train", "validation"]
    check(mirror, task, counts="any")


@pytest.mark.parametrize("task", GLUE)
def test_labels_stand_in_the_order_of_the_hub(task: str) -> None:
    assert tasks.dataset(task, {}).task.labels == LABELS[task]


def test_similarity_scores_are_floats_and_all_others_integers(tmp_path: Path) -> None:
    for task in GLUE:
        kinds = {
            rows["label"].dtype.kind
            for rows in tables(fetch(write_mirror(tmp_path, task), task)).values()
        }
        assert kinds == ({"f"} if task == "stsb" else {"i"}), task
    assert tasks.dataset("stsb", {}).task.outputs == 1
    scores = tables(fetch(tmp_path, "stsb"))["train"]["label"]
    assert scores.tolist()[:4] == [0.0, 1.3, 2.6, 3.9]


def test_mnli_has_both_development_and_both_test_sets(tmp_path: Path) -> None:
    found = tables(fetch(write_mirror(tmp_path, "mnli"), "mnli"))
    assert (
        found["validation"]["premise"].tolist()
        != found["validation_mismatched"]["premise"].tolist()
    )
    assert set(found["validation_mismatched"]["label"]) == {0, 1, 2}
    assert set(found["test"]["label"]) == set(found["test_mismatched"]["label"]) == {UNLABELLED}


@pytest.mark.parametrize(
    ("task", "reason", "rows"),
    [
        ("qqp", "damaged in the published file: cells are missing", 4),
        ("mnli", "the annotators did not agree on a label", 3),
    ],
)
def test_unusable_rows_of_the_published_files_are_left_out_and_counted(
    tmp_path: Path, task: str, reason: str, rows: int
) -> None:
    fetched = fetch(write_mirror(tmp_path, task), task)
    assert fetched.left_out == {reason: rows}
    # The names of the rows after them are still the hub's numbers.
    assert tables(fetched)["train"]["id"].tolist()[3] == str(3 + len(LEFT_OUT[task]))


@pytest.mark.parametrize(
    ("task", "scored"),
    [(task, ["validation"]) for task in GLUE if task != "mnli"]
    + [("mnli", ["validation", "validation_mismatched"])],
)
def test_the_stage_describes_each_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, scored: list[str]
) -> None:
    mirror = write_mirror(tmp_path / "mirror", task)
    params = (ROOT / "params.yaml").read_text().replace("counts: published", "counts: any")
    (tmp_path / "params.yaml").write_text(params)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLUE_MIRROR", str(mirror))
    download_glue(task)
    assert list(read_task(task).scored) == scored
    for split, rows in tables(fetch(mirror, task)).items():
        assert pd.read_parquet(f"data/{task}/{split}.parquet").equals(rows)
    described = read_json(tmp_path / f"metrics/{task}/dataset.json")
    assert described["splits"]["train"]["rows"] == 20
    assert described["left_out"] == fetch(mirror, task).left_out


@pytest.mark.parametrize("task", ["cola", "stsb", "rte", "wnli"])
def test_whole_corpora_have_the_published_counts_and_parts_are_refused(
    tmp_path: Path, task: str
) -> None:
    check(write_mirror(tmp_path / "whole", task, rows=None), task)
    part = write_mirror(tmp_path / "part", task)
    with pytest.raises(UserError, match=rf"{task}/train has 20 rows, published are \d+"):
        check(part, task)
    check(part, task, counts="any")


@pytest.mark.parametrize(
    ("rows", "accepted"),
    [(363_846, True), (363_849, True), (363_482, False), (364_210, False), (363_500, True)],
)
def test_qqp_may_differ_by_a_thousandth(rows: int, accepted: bool) -> None:
    """Older mirrors have slightly other totals, 363,849 among them."""
    split = pd.DataFrame({"label": [0, 1] * (rows // 2) + [0] * (rows % 2)})
    wanted = settings(Path())
    if accepted:
        tasks.dataset("qqp", {}).check({"train": split}, wanted)
        return
    with pytest.raises(UserError, match="published are 363846"):
        tasks.dataset("qqp", {}).check({"train": split}, wanted)
