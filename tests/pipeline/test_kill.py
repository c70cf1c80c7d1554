"""SIGKILL in the middle of a stage, then again: it completes, with the undisturbed result."""

import os
import signal
import subprocess
import time
from collections.abc import Callable

import psutil
import pytest

from tests.pipeline.conftest import Repo


def kill_when(process: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> None:
    """SIGKILL the process and all its children once `condition` holds; it must still be running."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def half_written(repo: Repo) -> bool:
    """Some output exists under its temporary name."""
    return any(
        next((repo.folder / top).rglob("*.partial"), None) is not None
        for top in ("data", "models", "metrics", "reports", "exports")
    )


STAGES = [
    ("download_glue mrpc", ["data", "metrics/mrpc"]),
    ("quantize mrpc fp32", ["models/mrpc/fp32"]),
    ("quantize mrpc int8_dynamic", ["models/mrpc/int8_dynamic"]),
    ("size_report mrpc", ["metrics/mrpc/size"]),
    ("evaluate mrpc int8_dynamic", ["metrics/mrpc/accuracy", "reports/mrpc/predictions"]),
    ("compare mrpc", ["metrics/mrpc/compare"]),
    ("export mrpc", ["exports/mrpc"]),
]


@pytest.mark.parametrize(("stage", "outputs"), STAGES, ids=[stage for stage, _ in STAGES])
def test_killed_while_it_writes(repo: Repo, stage: str, outputs: list[str]) -> None:
    """What was there before stays whole; the second run gives the same bytes."""
    command = ("python", "-m", *f"stages.{stage}".split())
    undisturbed = repo.files(*outputs)
    kill_when(repo.start(*command), lambda: half_written(repo))
    repo.run(*command)
    again = repo.files(*outputs)
    assert again.keys() == undisturbed.keys()
    different = {name for name in again if again[name] != undisturbed[name]}
    # A zip of TorchScript holds no time, but ONNX's exporter numbers some nodes as it likes.
    assert different <= {"exports/mrpc/model.onnx", "exports/mrpc/manifest.json"}
    assert not half_written(repo)


def test_finetune_killed_between_epochs_continues_to_the_same_weights(repo: Repo) -> None:
    command = ("python", "-m", "stages.finetune", "mrpc")
    outputs = ("models/mrpc/finetuned", "metrics/mrpc/finetune.json", "reports/mrpc/training")
    undisturbed = repo.files(*outputs)
    unfinished = repo.folder / ".training/mrpc"

    def first_epoch_is_over() -> bool:
        return next(unfinished.glob("checkpoint-*/complete"), None) is not None

    kill_when(repo.start(*command), first_epoch_is_over)
    assert "continuing from step 58" in repo.run(*command)
    assert repo.files(*outputs) == undisturbed
    assert not unfinished.exists()


def test_a_half_written_checkpoint_is_not_resumed_from(repo: Repo) -> None:
    command = ("python", "-m", "stages.finetune", "mrpc")
    undisturbed = repo.files("models/mrpc/finetuned")
    unfinished = repo.folder / ".training/mrpc"

    def is_being_saved() -> bool:
        found = list(unfinished.glob("checkpoint-*/model.safetensors"))
        return any(not (path.parent / "complete").exists() for path in found)

    kill_when(repo.start(*command), is_being_saved)
    assert "continuing" not in repo.run(*command)
    assert repo.files("models/mrpc/finetuned") == undisturbed


def test_other_settings_do_not_continue_an_unfinished_training(repo: Repo) -> None:
    command = ("python", "-m", "stages.finetune", "mrpc")
    unfinished = repo.folder / ".training/mrpc"
    kill_when(repo.start(*command), lambda: any(unfinished.glob("checkpoint-*/complete")))
    repo.set_params({"finetune": {"mrpc": {"seed": 1, "max_steps": 2}}})
    assert "continuing" not in repo.run(*command)


def test_latency_killed_leaves_no_process_and_no_half_result(repo: Repo) -> None:
    command = ("python", "-m", "stages.latency", "mrpc")
    before = repo.files("metrics/mrpc/latency")
    process = repo.start(*command)

    def children() -> list[psutil.Process]:
        return psutil.Process(process.pid).children()

    deadline = time.monotonic() + 60
    while len(children()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    orphans = children()
    process.kill()  # only the stage: its timed processes must notice by themselves
    process.wait()
    assert psutil.wait_procs(orphans, timeout=30)[1] == []
    assert repo.files("metrics/mrpc/latency") == before
    repo.run(*command)
    assert repo.files("metrics/mrpc/latency").keys() == before.keys()


def test_dvc_itself_killed_in_the_middle_of_training(fresh: Repo, finished: Repo) -> None:
    """No stale lock, no half-made stage in dvc.lock; the next run gives the same model."""
    unfinished = fresh.folder / ".training/mrpc"
    kill_when(fresh.start("dvc", "repro", "finetune"), lambda: any(unfinished.glob("*/complete")))
    assert "finetune@mrpc" in fresh.repro("finetune")
    assert fresh.files("models/mrpc/finetuned") == finished.files("models/mrpc/finetuned")
