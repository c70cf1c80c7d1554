"""A flipped bit stops the stage that reads it; `make restore` and `dvc repro` bring it back."""

import hashlib
import os
from pathlib import Path

import pytest

from stages.plumbing.lock import locked
from tests.building import flip
from tests.pipeline.conftest import Repo, of_stage
from tests.pipeline.test_dag import ALWAYS

FINETUNED = "models/mrpc/seed_42/finetuned"


def flip_unseen(file: Path) -> None:
    """As a disk does it, after which file system and DVC see nothing new."""
    facts = file.stat()
    flip(file)
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    file.chmod(facts.st_mode)


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("data/mrpc/train.parquet", "finetune mrpc 42"),
        ("data/mrpc/task.json", "quantize mrpc 42 fp32"),
        (f"{FINETUNED}/model.safetensors", "quantize mrpc 42 fp32"),
        (f"{FINETUNED}/tokenizer.json", "quantize mrpc 42 fp32"),
        ("data/mrpc/validation.parquet", "evaluate mrpc 42 fp32"),
        ("models/mrpc/seed_42/fp32/config.json", "latency mrpc"),
        ("reports/mrpc/predictions/seed_43/fp32.csv", "compare mrpc"),
        ("reports/mrpc/predictions/seed_42/int8_dynamic.csv", "export mrpc"),
    ],
)
def test_a_flipped_bit_stops_the_stage_that_reads_it(repo: Repo, file: str, stage: str) -> None:
    before = repo.contents("models", "metrics", "reports", "exports")
    flip_unseen(repo.folder / file)
    name, *arguments = stage.split()
    said = repo.fails(*of_stage(name, *arguments)).splitlines()
    assert said[-1].startswith(f"{name}: {file} ")
    assert "make restore" in said[-1]
    assert "Traceback" not in "".join(said)
    after = repo.contents("models", "metrics", "reports", "exports")
    assert {name for name in before if before[name] != after.get(name)} <= {file}


@pytest.mark.parametrize("links", ["copy", "hardlink", "symlink"])
def test_what_is_damaged_here_and_in_dvcs_cache_comes_back(repo: Repo, links: str) -> None:
    weights = repo.folder / FINETUNED / "model.safetensors"
    undisturbed = repo.contents(FINETUNED)
    repo.run("dvc", "config", "--local", "cache.type", links)
    repo.run("dvc", "checkout", "--relink", "--force")
    digest = hashlib.md5(weights.read_bytes()).hexdigest()
    kept = repo.folder / f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}"
    flip_unseen(kept)
    weights.unlink()
    repo.run("dvc", "checkout", "--force")  # which brings the damaged one
    assert weights.read_bytes() == kept.read_bytes()
    said = repo.stage("commands.restore")
    assert f"removed: {FINETUNED}/model.safetensors was altered\n" in said
    assert not kept.exists()
    assert set(repo.repro()) <= {"finetune@mrpc-42"} | ALWAYS
    assert repo.contents(FINETUNED) == undisturbed
    assert repo.stage("commands.restore") == "nothing is damaged\n"


@pytest.mark.parametrize(
    ("stage", "target"),
    [
        ("quantize mrpc 42 int8_mixed", "models/mrpc/seed_42/int8_mixed"),
        ("finetune mrpc 42", ".training/mrpc-42"),
    ],
)
def test_two_runs_of_one_stage_come_one_after_the_other(
    repo: Repo, stage: str, target: str
) -> None:
    undisturbed = repo.contents("models", "metrics/mrpc/finetune")
    name, *arguments = stage.split()
    with locked(repo.folder / target):  # so that both come to wait for it
        runs = [repo.start(*of_stage(name, *arguments), log=True) for _ in range(2)]
        for run in runs:
            assert run.stdout is not None
            while f"{target}: another process is at work".encode() not in run.stdout.readline():
                assert run.poll() is None, "ended without waiting"
    for run in runs:
        run.communicate()
    assert [run.returncode for run in runs] == [0, 0]
    assert repo.contents("models", "metrics/mrpc/finetune") == undisturbed
    assert not list(repo.folder.glob("**/*.partial"))
