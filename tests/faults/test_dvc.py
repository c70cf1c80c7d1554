"""Real DVC under what people do to it; a part of the night (make faults), each takes a minute."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipeline.conftest import Repo

SCORES = ("metrics/mrpc/accuracy", "reports/mrpc/predictions")
SEED = "models/mrpc/seed_42"


def edited(repo: Repo) -> None:
    """Something for two variants to be evaluated anew."""
    repo.set_params({"evaluate": {"batch_size": 16}})


def again_and_again(repo: Repo, expected: dict[str, bytes]) -> None:
    """The next run mends whatever is left to do, the one after it has nothing to do."""
    repo.repro()
    assert repo.contents(*SCORES) == expected
    assert set(repo.repro()) <= {"environment"}


@pytest.fixture
def expected(finished: Repo, tmp_path: Path) -> dict[str, bytes]:
    """What an undisturbed run leaves after the edit."""
    other = finished.copy(tmp_path / "undisturbed")
    edited(other)
    other.repro()
    return other.contents(*SCORES)


@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_repro_is_stopped_and_run_again(
    repo: Repo,
    expected: dict[str, bytes],
    signal_: signal.Signals,
) -> None:
    edited(repo)
    process = repo.start("dvc", "repro")
    deadline = time.monotonic() + 300
    first = repo.folder / "reports/mrpc/predictions/seed_42/fp32.csv"
    while first.exists():  # DVC removes it before the stage
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal_)
    process.wait(timeout=120)
    again_and_again(repo, expected)


def test_two_in_one_repository(repo: Repo, expected: dict[str, bytes]) -> None:
    edited(repo)
    both = [repo.start("dvc", "repro", log=True) for _ in range(2)]
    for process in both:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0 or b"lock" in said.lower(), said[-2000:]
    again_and_again(repo, expected)


def test_two_clones_that_share_a_cache(
    repo: Repo,
    expected: dict[str, bytes],
    tmp_path: Path,
) -> None:
    repo.run("dvc", "config", "cache.dir", str(repo.folder / ".dvc/cache"))
    repo.commit()
    other = repo.clone(tmp_path / "clone")
    other.run("dvc", "checkout")
    for each in (repo, other):
        edited(each)
    for process in [each.start("dvc", "repro", log=True) for each in (repo, other)]:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said[-2000:]
    for each in (repo, other):
        again_and_again(each, expected)


def test_another_branch_and_a_stash_between_runs(
    repo: Repo,
    expected: dict[str, bytes],
) -> None:
    before = repo.contents(*SCORES)
    edited(repo)
    repo.run("git", "stash")
    assert set(repo.repro()) <= {"environment"}
    repo.run("git", "checkout", "-q", "-b", "other")
    repo.run("git", "stash", "pop")
    again_and_again(repo, expected)
    repo.commit()
    repo.run("git", "checkout", "-q", "main")
    repo.run("dvc", "checkout")
    assert repo.contents(*SCORES) == before
    assert set(repo.repro()) <= {"environment"}


@pytest.mark.parametrize("when", [0, 4_000_000_000], ids=["1970", "2096"])
def test_a_clock_that_jumps(repo: Repo, when: int) -> None:
    """Times of files mean nothing; what is in them does."""
    for root in ("data", "models", "metrics", "reports", "stages"):
        for path in (repo.folder / root).rglob("*"):
            os.utime(path, (when, when), follow_symlinks=False)
    assert set(repo.repro()) <= {"environment"}


def test_a_merge_conflict_in_dvc_lock(repo: Repo, expected: dict[str, bytes]) -> None:
    repo.commit("other")
    edited(repo)
    repo.repro()
    repo.commit()
    repo.run("git", "checkout", "-q", "main")
    repo.set_params({"evaluate": {"batch_size": 8}})
    repo.repro()
    repo.commit()
    merge = subprocess.run(
        ["git", "merge", "other"], cwd=repo.folder, env=repo.environment, capture_output=True
    )
    assert merge.returncode != 0
    assert "dvc.lock" in repo.fails("dvc", "repro")
    repo.run("git", "checkout", "--theirs", "--", ".")
    repo.run("git", "add", "-A")
    repo.run("git", "commit", "-q", "-m", "theirs")
    again_and_again(repo, expected)


@pytest.mark.parametrize(
    "beside",
    [("dvc", "gc", "-w", "-f"), ("dvc", "checkout"), ("dvc", "exp", "run", "--queue")],
    ids=["gc", "checkout", "queue"],
)
def test_another_command_beside_a_run(
    repo: Repo,
    expected: dict[str, bytes],
    beside: tuple[str, ...],
) -> None:
    edited(repo)
    process = repo.start("dvc", "repro", log=True)
    time.sleep(3)
    subprocess.run(beside, cwd=repo.folder, env=repo.environment, capture_output=True, timeout=300)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0 or b"lock" in said.lower(), said[-2000:]
    again_and_again(repo, expected)
