"""`make score` killed at any moment and started again: each row is there exactly once."""

import os
import random
import signal
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from tests.scoring import corpus, run, started, write_csv, write_parquet

pytestmark = pytest.mark.slow
ROWS, KILLS = 4000, 50


def test_killed_at_fifty_random_moments_it_gives_the_same_bytes(
    integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    file, out, at_once = (tmp_path / f"{name}.parquet" for name in ("in", "out", "at_once"))
    write_parquet(file, corpus(ROWS))
    options = ("--model", integer_exports["cola"], "--block-rows", 32, "--probabilities")
    began = time.monotonic()
    assert run(file, at_once, *options).code == 0
    whole = time.monotonic() - began
    assert pd.read_parquet(at_once)["id"].tolist() == corpus(ROWS)["id"]
    random_, kills = random.Random(0), 0
    while kills < KILLS:
        child = started(file, out, *options, "--workers", 1 + kills % 2)
        time.sleep(random_.uniform(0, whole))
        kills += child.poll() is None
        child.kill()
        child.communicate()
        assert child.returncode in (0, -signal.SIGKILL)
        if out.exists():
            assert out.read_bytes() == at_once.read_bytes()
            out.unlink()  # and all from the start
    assert run(file, out, *options).code == 0
    assert out.read_bytes() == at_once.read_bytes()
    assert sorted(tmp_path.iterdir()) == sorted([file, out, at_once])
    assert not orphans(out)


def test_a_killed_worker_is_told_and_nothing_is_lost(
    integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    file, out = tmp_path / "in.csv", tmp_path / "out.parquet"
    write_csv(file, corpus(ROWS))
    options = ("--model", integer_exports["cola"], "--block-rows", 32, "--workers", 2)
    child = started(file, out, *options)
    while not (blocks := list(tmp_path.glob("out.parquet.partial/blocks/*"))):
        time.sleep(0.01)
    worker = max(psutil.Process(child.pid).children(recursive=True), key=lambda one: one.pid)
    worker.kill()
    _, err = child.communicate()
    assert child.returncode == 2
    assert "score: a process that scores was killed" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert blocks
    done = run(file, out, *options)
    assert done.code == 0
    assert "rows are done already" in done.out
    assert out.exists()


def orphans(out: Path) -> list[psutil.Process]:
    """Processes that still work on it; those of a parent that was killed end within a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = [
            one
            for one in psutil.process_iter(["cmdline"])
            if one.pid != os.getpid() and str(out) in (one.info["cmdline"] or [])
        ]
        if not found:
            return []
        time.sleep(0.1)
    return found
