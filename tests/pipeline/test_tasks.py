"""Several tasks in one `dvc repro`: regression, two validation sets, own files, model families."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.running.shipped.predict import Classifier
from tests.conftest import WORDS
from tests.families import tiny_roberta, tiny_xlnet
from tests.glue_files import write_mirror
from tests.pipeline.conftest import Repo

TRAINING = {"checkpoint": "", "max_length": 24, "batch_size": 32, "learning_rate": 1e-3,
            "epochs": 1, "max_steps": 6, "warmup_ratio": 0.1, "weight_decay": 0.01}  # fmt: skip
# Task, its model, and what its first logit layer must be as wide as.
TASKS = {
    "stsb": ("tiny-bert", 1),
    "mnli": ("tiny-roberta", 3),
    "topics": ("tiny-xlnet", 4),
}
INT8 = "int8_dynamic"
TOPICS = ("birds", "cars", "moon", "soup")


def write_topics(path: Path) -> None:
    random_ = random.Random(0)
    rows = []
    for i in range(160):
        topic = i % 4
        words = random_.choices(WORDS[topic * 16 : topic * 16 + 16], k=random_.randint(3, 12))
        rows.append({"text": " ".join(words) + ', "quoted"\nand more.', "about": TOPICS[topic]})
    pd.DataFrame(rows).to_csv(path, index=False)


@pytest.fixture(scope="module")
def several(fresh: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """After one `dvc repro` of all of TASKS. Not to be changed by a test: copy it."""
    repo = fresh.copy(tmp_path_factory.mktemp("several") / "project")
    mirror = tmp_path_factory.mktemp("glue")
    write_mirror(mirror, "stsb", {"train": 90, "dev": 40, "test": 5})
    write_mirror(mirror, "mnli", {"train": 90, "dev": 40, "test": 5})
    repo.environment["GLUE_MIRROR"] = str(mirror)
    tiny_roberta(repo.folder / "tiny-roberta")
    tiny_xlnet(repo.folder / "tiny-xlnet")
    write_topics(repo.folder / "topics.csv")
    repo.set_params(
        {
            "tasks": list(TASKS),
            "csv": {"topics": {"train": "topics.csv", "test": "", "text": "text",
                               "label": "about", "metric": "weighted_f1"}},
            "download_glue": {"counts": "any"},
            "finetune": {"seeds": [42]}
            | {name: TRAINING | {"model": model} for name, (model, _) in TASKS.items()},
            "quantize": {"int8_mixed": None},
        }
    )  # fmt: skip
    repo.repro()
    repo.commit()
    return repo


@pytest.fixture
def repo(several: Repo, tmp_path: Path) -> Repo:
    return several.copy(tmp_path / "project")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_goes_from_its_source_to_an_export(several: Repo, task: str) -> None:
    model, outputs = TASKS[task]
    predictions = pd.read_csv(
        several.folder / f"reports/{task}/predictions/seed_42/{INT8}.csv", dtype={"id": str}
    )
    logits = [column for column in predictions if str(column).startswith("logit_")]
    assert len(logits) == outputs
    assert several.metric(f"{task}/size/{INT8}.json")["quantized_ops"] > 0
    exported = several.metric(f"{task}/export.json")
    assert exported["variant"] == INT8
    assert {facts["file"] for facts in exported["files"].values()} == {"model.pt", "model.onnx"}
    assert several.metric(f"{task}/finetune/seed_42.json")["model"] == model


@pytest.mark.parametrize("task", TASKS)
def test_what_ships_answers_raw_texts_as_the_pipeline_scored_them(several: Repo, task: str) -> None:
    """Single texts, pairs and scores; padding on the left too."""
    folder = several.folder / "exports" / task
    card = (folder / "README.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    definition = json.loads((several.folder / f"data/{task}/task.json").read_text())
    rows = pd.read_parquet(several.folder / f"data/{task}/validation.parquet")
    texts = list(rows[definition["text_columns"]].itertuples(index=False, name=None))
    found = Classifier(folder).logits([text if len(text) > 1 else text[0] for text in texts])
    table = pd.read_csv(several.folder / f"reports/{task}/predictions/seed_42/{INT8}.csv")
    stored = table[table["split"] == "validation"].filter(like="logit_").to_numpy()
    # One scale per tensor: an answer depends a little on what else is in the batch.
    assert np.abs(found - stored).max() <= 0.1 * np.abs(stored).max()


def test_a_regression_is_compared_by_correlation(several: Repo) -> None:
    task = json.loads((several.folder / "data/stsb/task.json").read_text())
    assert (task["labels"], task["scored"]) == ([], ["validation"])
    row = several.metric(f"stsb/compare/{INT8}.json")
    for key in ("pearson", "spearman", "pearson_drop_mean_points", "agreement_pct", "wilcoxon_p"):
        assert isinstance(row[key], (int, float)), key
    predictions = pd.read_csv(several.folder / f"reports/stsb/predictions/seed_42/{INT8}.csv")
    assert row["pearson"] == pytest.approx(predictions["label"].corr(predictions["predicted"]))
    assert predictions["label"].between(0, 5).all()
    assert predictions["label"].nunique() > 2
    page = (several.folder / "reports/stsb/compare.md").read_text()
    assert "Wilcoxon p" in page
    assert "per class" not in page
    assert "the score itself" in (several.folder / "exports/stsb/README.md").read_text()


def test_mnli_is_scored_on_both_of_its_validation_sets(several: Repo) -> None:
    scores = several.metric(f"mnli/accuracy/seed_42/{INT8}.json")
    assert scores["validation"]["n"] == scores["validation_mismatched"]["n"] == 40
    assert "test" not in scores  # its labels are secret
    row = several.metric(f"mnli/compare/{INT8}.json")
    both = {"accuracy_drop_points", "validation_mismatched_accuracy_drop_points"}
    assert both < row.keys()
    assert (
        "validation_mismatched, 40 texts"
        in (several.folder / "reports/mnli/compare.md").read_text()
    )


def test_a_file_of_ones_own_has_a_report_per_class(several: Repo) -> None:
    table = pd.read_csv(several.folder / "reports/topics/per_class.csv")
    mine = table[table["variant"] == INT8]
    assert mine["class"].tolist() == list(TOPICS)
    assert mine["support"].sum() == 16
    page = (several.folder / "reports/topics/compare.md").read_text()
    # What `auto` would ship hangs on the timing; export.variant names another here.
    chosen = re.search(r"`export.variant: auto` ships (\w+):", page)
    assert chosen
    for name in ("fp32", chosen[1]):
        assert f"\n{name} per class, validation:\n" in page


def test_the_summary_has_a_row_per_task_and_variant(several: Repo) -> None:
    table = pd.read_csv(several.folder / "reports/summary.csv")
    assert list(zip(table["task"], table["variant"], strict=True)) == [(t, INT8) for t in TASKS]
    for row in table.to_dict("records"):
        compare = several.metric(f"{row['task']}/compare/{INT8}.json")
        assert row["speedup"] == pytest.approx(row["before_ms"] / row["after_ms"])
        assert row["after"] == pytest.approx(compare[f"{row['metric']}_mean"])


def test_a_task_taken_out_of_the_list_leaves_the_others_untouched(repo: Repo) -> None:
    folders = [f"{root}/stsb" for root in ("data", "models", "metrics", "reports", "exports")]
    before = repo.contents(*folders)
    kept = [name for name in TASKS if name != "mnli"]
    repo.set_params({"tasks": kept})
    ran = set(repo.repro())
    assert ran == {"code", "environment", "summary"}
    assert repo.contents(*folders) == before
    assert "mnli" not in (repo.folder / "reports/summary.md").read_text()


def test_one_file_under_two_names_has_the_same_rows_and_concerns_no_other_task(repo: Repo) -> None:
    repo.set_params({"tasks": [*TASKS, "topics__again"]})
    repo.set_params({"finetune": {"topics__again": TRAINING | {"model": "tiny-bert"}}})
    of_the_file = {"download_glue@topics", "download_glue@topics__again"}
    assert "download_glue@topics__again" in repo.repro("download_glue")
    rows = repo.contents("data/topics/train.parquet", "data/topics__again/train.parquet")
    assert len(set(rows.values())) == 1
    with (repo.folder / "topics.csv").open("a") as file:
        file.write("one more about the moon,moon\n")
    ran = repo.repro("download_glue")
    assert {stage for stage in ran if stage.startswith("download_glue")} == of_the_file


def test_a_colleague_without_the_file_rebuilds_nothing(repo: Repo, tmp_path: Path) -> None:
    (repo.folder / ".gitignore").open("a").write("topics.csv\n")
    repo.run("git", "rm", "-q", "--cached", "topics.csv")
    repo.run("dvc", "remote", "add", "-d", "shared", str(tmp_path / "remote"))
    repo.commit()
    repo.run("dvc", "push")
    clone = repo.clone(tmp_path / "clone")
    clone.run("dvc", "pull")
    output = clone.run("dvc", "repro")
    assert "topics.csv is not here; what was built from it before stands" in output
    assert "Running stage 'download_glue" not in output
    assert clone.run("git", "status", "--porcelain") == ""
