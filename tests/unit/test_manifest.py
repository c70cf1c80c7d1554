"""What is read is what was written: stages compare each folder with its manifest first."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.dataset.task import read_task
from stages.dataset.verified import CHECKSUM, verify_predictions, verify_splits
from stages.model.artifact import copy_without_weights
from stages.plumbing.command import UserError
from stages.plumbing.files import sha256, write_json, write_text
from stages.plumbing.manifest import (
    MANIFEST,
    Damaged,
    check_links,
    verify_files,
    verify_folder,
    write_checksums,
)
from stages.tasks.mrpc import DATASET
from stages.training.model_names import resolve
from tests.building import flip, training_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "below").mkdir(parents=True)
    for name in ("weights", "config.json", "below/more"):
        (made / name).write_text(f"content of {name}")
    write_checksums(made, seed=42)
    return made


def test_what_is_whole_is_read_with_what_else_is_said_of_it(folder: Path) -> None:
    assert verify_folder(folder)["seed"] == 42
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").write_text("")
    (folder / "weights.0123abcd.partial").write_text("")
    verify_folder(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda at: flip(at / "weights"), r"made/weights was altered; run 'make restore'"),
        (lambda at: flip(at / "below/more"), r"below/more was altered"),
        (lambda at: (at / "config.json").unlink(), r"config\.json is missing"),
        (lambda at: (at / "new").write_text(""), r"made/new is not in the manifest\.json"),
        (lambda at: (at / "below/new").write_text(""), r"below/new is not in the"),
        (lambda at: (at / "new").symlink_to("weights"), r"made/new is not in the"),
        (lambda at: (at / MANIFEST).unlink(), r"manifest\.json is missing; run 'dvc repro'"),
        (lambda at: (at / MANIFEST).write_text("{"), r"lists no files"),
        (lambda at: (at / MANIFEST).write_text("[]"), r"lists no files"),
        (lambda at: write_json(at / MANIFEST, {"sha256": {}}), r"lists no files"),
        (lambda at: write_json(at / MANIFEST, {"sha256": {"../a": "0"}}), r"lists no files"),
        (lambda at: write_json(at / MANIFEST, {"sha256": {"/a": "0"}}), r"lists no files"),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(
    damage: Callable[[Path], object], message: str, folder: Path
) -> None:
    damage(folder)
    with pytest.raises(Damaged, match=message):
        verify_folder(folder)


def test_files_that_are_not_read_are_not_compared(folder: Path) -> None:
    flip(folder / "weights")
    verify_files(folder, ["config.json"])
    with pytest.raises(Damaged, match="unlisted is not in the"):
        verify_files(folder, ["unlisted"])


def test_links_of_dvc_into_its_cache_are_whole(folder: Path, tmp_path: Path) -> None:
    """`cache.type symlink` makes one of each file, after the stage wrote the manifest."""
    shutil.move(folder / "weights", tmp_path / "object")
    (folder / "weights").symlink_to(tmp_path / "object")
    verify_folder(folder)
    flip(tmp_path / "object")
    with pytest.raises(Damaged, match="weights was altered"):
        verify_folder(folder)


def test_what_an_artifact_takes_from_a_checkpoint_is_what_its_manifest_lists(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "secret.json").write_text("put there later")
    (tmp_path / "copy").mkdir()
    copy_without_weights(folder, tmp_path / "copy")
    assert sorted(os.listdir(tmp_path / "copy")) == ["config.json", "weights"]
    flip(folder / "config.json")
    with pytest.raises(Damaged, match=r"config\.json was altered"):
        copy_without_weights(folder, tmp_path / "copy")


# ---- links


@pytest.mark.parametrize("name", ["vocab.txt", "below/added_tokens.json"])
def test_a_link_out_of_a_model_folder_is_refused(
    name: str, tiny_bert: Path, tmp_path: Path
) -> None:
    secret, model = tmp_path / "secret", shutil.copytree(tiny_bert, tmp_path / "model")
    secret.write_text("token")
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(secret)
    with pytest.raises(UserError, match=f"{name} is a link out of its folder, to {secret}; put"):
        resolve(str(model))
    with pytest.raises(UserError, match="is a link out of its folder"):
        copy_without_weights(model, tmp_path)
    with pytest.raises(UserError, match="is a link out of its folder"):
        write_checksums(model)


def test_links_within_a_folder_and_those_of_the_hubs_cache_are_followed(
    tiny_bert: Path, tmp_path: Path
) -> None:
    snapshot, blobs = tmp_path / "models--a--b/snapshots/1", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(tiny_bert.iterdir())):
        shutil.copyfile(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    assert resolve(str(snapshot)).weights == "pretrained"
    (tmp_path / "current").symlink_to(snapshot)
    resolve(str(tmp_path / "current"))
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    (model / "also.txt").symlink_to("vocab.txt")
    check_links(model)


# ---- data and predictions


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stages download_glue and evaluate leave."""
    monkeypatch.chdir(tmp_path)
    write_text(Path("data/mrpc/task.json"), DATASET.task.model_dump_json())
    training_rows(20).to_parquet("data/mrpc/validation.parquet")
    write_checksums(Path("data/mrpc"))
    file = Path("reports/mrpc/predictions/seed_42/fp32.csv")
    write_text(file, "split,id,label,predicted\nvalidation,1,0,1\n")
    write_json(Path("metrics/mrpc/accuracy/seed_42/fp32.json"), {CHECKSUM: sha256(file)})
    return tmp_path


def test_rows_and_predictions_are_read_as_they_were_written(project: Path) -> None:
    assert read_task("mrpc") == DATASET.task
    verify_splits("mrpc", "validation")
    verify_predictions("mrpc", 42, "fp32")
    write_json(Path("metrics/mrpc/accuracy/seed_42/ibert.json"), {"skipped": "no compiler"})
    write_text(Path("reports/mrpc/predictions/seed_42/ibert.csv"), "")
    verify_predictions("mrpc", 42, "ibert")


@pytest.mark.parametrize(
    ("file", "read"),
    [
        ("data/mrpc/task.json", lambda: read_task("mrpc")),
        ("data/mrpc/validation.parquet", lambda: verify_splits("mrpc", "validation")),
        (
            "reports/mrpc/predictions/seed_42/fp32.csv",
            lambda: verify_predictions("mrpc", 42, "fp32"),
        ),
    ],
)
def test_a_flipped_bit_is_noticed_with_a_remedy(
    file: str, read: Callable[[], object], project: Path
) -> None:
    flip(project / file)
    with pytest.raises(Damaged, match=f"{file} .*; run 'make restore'"):
        read()


def test_a_list_that_is_older_than_the_file_is_noticed(project: Path) -> None:
    manifest = json.loads((project / "data/mrpc" / MANIFEST).read_text())
    assert sorted(manifest["sha256"]) == ["task.json", "validation.parquet"]
    training_rows(21).to_parquet("data/mrpc/validation.parquet")
    with pytest.raises(Damaged, match="was altered"):
        verify_splits("mrpc", "validation")
