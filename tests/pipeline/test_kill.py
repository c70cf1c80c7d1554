"""SIGKILL in the middle of a stage, then again: it completes, with the undisturbed result."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.pipeline.conftest import Repo, of_stage


def kill_when(process: "subprocess.Popen[bytes]", condition: Callable[[], bool]) -> None:
    """SIGKILL the process and all its children once `condition` holds; it must still be running."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


SUICIDE = """
import os, signal, sys
real, left = os.replace, int(os.environ["KILL_BEFORE_RENAME"])
def count():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def replace(*arguments, **more):
    count()
    return real(*arguments, **more)
os.replace = replace
# A folder that takes the place of another is swapped with it.
sys.addaudithook(
    lambda event, facts: count() if event == "ctypes.dlsym" and facts[1] == "renameat2" else None
)
"""


# Stage, outputs, and before which rename it dies: the first, and one between two outputs. That of a
# folder is none where the system swaps two: tests/faults kills at every file event.
SEED = "models/mrpc/seed_42"
STAGES = [
    ("download_glue mrpc", ["data", "metrics/mrpc/dataset.json"], (1, 2)),
    ("quantize mrpc 42 int8_mixed", [f"{SEED}/int8_mixed"], (2, 4)),
    ("quantize mrpc 42 fp32", [f"{SEED}/fp32"], (1,)),
    ("quantize mrpc 42 int8_dynamic", [f"{SEED}/int8_dynamic"], (2,)),
    (
        "size_report mrpc",
        ["metrics/mrpc/size", "reports/mrpc/size.csv", "reports/mrpc/sensitivity.csv"],
        (5,),
    ),
    ("evaluate mrpc 42 int8_dynamic", ["metrics/mrpc/accuracy", "reports/mrpc/predictions"], (2,)),
    ("compare mrpc", ["metrics/mrpc/compare", "reports/mrpc/compare.md"], (2, 5)),
    (
        "export mrpc",
        ["exports/mrpc", "metrics/mrpc/export.json", "metrics/mrpc/ships.json"],
        (5,),
    ),
]


@pytest.mark.parametrize(("stage", "outputs", "renames"), STAGES, ids=[s[0] for s in STAGES])
def test_killed_while_it_writes(
    repo: Repo, stage: str, outputs: list[str], renames: tuple[int, ...], tmp_path: Path
) -> None:
    """No output is ever half there; the next run gives the bytes of an undisturbed one."""
    (tmp_path / "sitecustomize.py").write_text(SUICIDE)
    command = of_stage(*stage.split())
    undisturbed = repo.contents(*outputs)
    for rename in renames:
        plan = {"PYTHONPATH": str(tmp_path), "KILL_BEFORE_RENAME": str(rename)}
        killed = subprocess.run(command, cwd=repo.folder, env=repo.cold.environment | plan)
        assert killed.returncode == -signal.SIGKILL
        left = repo.contents(*outputs).items()
        whole = {name: content for name, content in left if ".partial" not in name}
        assert whole.items() <= undisturbed.items()  # absent or whole, never half-written
    repo.run(*command)
    assert repo.contents(*outputs) == undisturbed
    assert not list(repo.folder.glob("**/*.partial"))


def test_finetune_killed_between_epochs_continues_to_the_same_weights(repo: Repo) -> None:
    command = of_stage("finetune", "mrpc", "42")
    outputs = (
        f"{SEED}/finetuned",
        "metrics/mrpc/finetune/seed_42.json",
        "reports/mrpc/training/seed_42",
    )
    undisturbed = repo.contents(*outputs)
    unfinished = repo.folder / ".training/mrpc-42"

    def first_epoch_is_over() -> bool:
        return next(unfinished.glob("checkpoint-*/manifest.json"), None) is not None

    kill_when(repo.start(*command), first_epoch_is_over)
    assert "continuing from step 58" in repo.run(*command)
    assert repo.contents(*outputs) == undisturbed
    assert not unfinished.exists()


def test_a_half_written_checkpoint_is_not_resumed_from(repo: Repo) -> None:
    command = of_stage("finetune", "mrpc", "42")
    undisturbed = repo.contents(f"{SEED}/finetuned")
    unfinished = repo.folder / ".training/mrpc-42"

    def is_being_saved() -> bool:
        found = list(unfinished.glob("checkpoint-*/model.safetensors"))
        return any(not (path.parent / "manifest.json").exists() for path in found)

    kill_when(repo.start(*command), is_being_saved)
    assert "continuing" not in repo.run(*command)
    assert repo.contents(f"{SEED}/finetuned") == undisturbed


def test_other_settings_do_not_continue_an_unfinished_training(repo: Repo) -> None:
    command = of_stage("finetune", "mrpc", "42")
    unfinished = repo.folder / ".training/mrpc-42"
    kill_when(repo.start(*command), lambda: any(unfinished.glob("checkpoint-*/manifest.json")))
    repo.set_params({"finetune": {"mrpc": {"max_steps": 2}}})
    assert "continuing" not in repo.run(*command)


def has_ended(process: psutil.Process) -> bool:
    """Also one that nobody has collected yet: in a container the first process takes its time."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_latency_killed_leaves_no_process_and_no_half_result(repo: Repo) -> None:
    command = of_stage("latency", "mrpc")
    before = repo.contents("metrics/mrpc/latency")
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
    left = psutil.wait_procs(orphans, timeout=90)[1]
    assert [orphan for orphan in left if not has_ended(orphan)] == []
    assert repo.contents("metrics/mrpc/latency") == before
    repo.run(*command)
    assert repo.contents("metrics/mrpc/latency").keys() == before.keys()


def test_two_timings_wait_for_each_other(repo: Repo) -> None:
    """Machine-wide: parallel experiment queues run whole pipelines side by side."""
    from filelock import FileLock

    from stages.latency import lock_file

    with FileLock(lock_file(), mode=0o666):
        process = repo.start(*of_stage("latency", "mrpc"), log=True)
        assert process.stdout is not None
        while b"another timing run" not in (line := process.stdout.readline()):
            assert line, "ended without waiting"
        assert psutil.Process(process.pid).children() == []
    while b"round 1/1" not in (line := process.stdout.readline()):
        assert line, "did not go on when the lock was free"
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_dvc_itself_killed_in_the_middle_of_training(
    fresh: Repo, finished: Repo, tmp_path: Path
) -> None:
    """No stale lock, no half-made stage in dvc.lock; the next run gives the same model."""
    repo = fresh.copy(tmp_path / "project")
    unfinished = repo.folder / ".training/mrpc-42"
    stage = "finetune@mrpc-42"
    kill_when(repo.start("dvc", "repro", stage), lambda: any(unfinished.glob("*/manifest.json")))
    assert stage in repo.repro(stage)
    assert repo.contents(f"{SEED}/finetuned") == finished.contents(f"{SEED}/finetuned")
