"""An interrupted race goes on where it was: with runners that only count what they are asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import race
from bench.isa import AVX2, NATIVE, Isa
from bench.prepare import Prepared
from bench.progress import Outcome, Progress, progress_of
from bench.runner import CutOff
from bench.workloads import Workload
from stages.model.tokens import Batch

HERE = Isa(NATIVE, simulated=False)
NAMES = ["torch_fp32", "fp32", "int8_fast"]


class Counting:
    """A runner without a process."""

    asked: list[tuple[str, int, str]]  # runner, threads, batch: in turn, by all of them
    ends_after: int
    broken: tuple[str, int] | None

    def __init__(self, peer: Prepared, threads: int, batches: Path, isa: Isa) -> None:
        self.name, self.threads = peer.name, threads

    def wait(self) -> dict[str, Any]:
        if self.broken == (self.name, self.threads):
            raise CutOff("too slow today")
        return {"load_s": 1.0, "hidden_by": ""}

    def probe(self, key: str, passes: int) -> None: ...

    def logits(self, key: str) -> np.ndarray:
        return np.ones((2, 2))

    def time(self, keys: list[str]) -> list[tuple[float, list[int]]]:
        if len(self.asked) >= self.ends_after:
            raise KeyboardInterrupt
        self.asked.extend((self.name, self.threads, key) for key in keys)
        return [(1.0, [0, 1]) for _ in keys]

    def peak_mb(self) -> float:
        return 100.0

    def close(self) -> None: ...


@pytest.fixture
def workload() -> Workload:
    batches: dict[str, Batch] = {
        f"sorted-{i}": {"input_ids": np.full((2, 4), i)} for i in range(6)
    } | {"length-8": {"input_ids": np.ones((1, 8), np.int64)}}
    positions = {f"sorted-{i}": [2 * i, 2 * i + 1] for i in range(6)}
    return Workload(batches, positions, dict.fromkeys(batches, 8))


@pytest.fixture
def run(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], Outcome]:
    """Race until so many batches were asked for; three rounds, with one thread and with two."""

    def ready(name: str, checkpoint: Path, folder: Path, isa: Isa) -> Prepared:
        return Prepared(name, folder)

    monkeypatch.setattr(race, "prepare", ready)
    monkeypatch.setattr(race, "Runner", Counting)
    monkeypatch.setattr(Counting, "broken", None, raising=False)
    progress = Progress(tmp_path / "unfinished.json")

    def run(ends_after: int) -> Outcome:
        monkeypatch.setattr(Counting, "asked", [], raising=False)
        monkeypatch.setattr(Counting, "ends_after", ends_after, raising=False)
        return race.race("tiny", tmp_path, NAMES, workload, [1, 2], 3, 1, HERE, tmp_path, progress)

    return run


def interrupted(run: Callable[[int], Outcome], ends_after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(ends_after)


def test_only_what_was_not_finished_is_run(run: Callable[[int], Outcome]) -> None:
    whole = run(1000)
    assert whole.sittings == 1
    assert run(0).samples == whole.samples  # all of it is kept until it is dropped


def test_a_round_that_was_cut_short_is_run_anew(
    run: Callable[[int], Outcome], workload: Workload
) -> None:
    interrupted(run, 12)  # a round of one thread is nine batches
    assert {key for _, _, key in Counting.asked} > {"sorted-0", "sorted-1"}
    outcome = run(1000)
    assert outcome.sittings == 2
    assert {key for _, threads, key in Counting.asked if threads == 1} == {
        *("sorted-1", "sorted-4", "sorted-2", "sorted-5"),
        "length-8",
    }
    timed = [(one["runner"], one["threads"], one["batch"]) for one in outcome.samples]
    for name in NAMES:
        for threads in (1, 2):
            for key in workload.names("sorted"):
                assert timed.count((name, threads, key)) == 1
        assert timed.count((name, 1, "length-8")) == 3
    assert outcome.answers["fp32"] == {row: row % 2 for row in range(12)}
    assert outcome.runners["fp32"]["peak_mb"] == 100.0


def test_who_does_not_come_up_again_leaves_no_half_of_its_batches(
    run: Callable[[int], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(run, 12)
    monkeypatch.setattr(Counting, "broken", ("int8_fast", 1))
    outcome = run(1000)
    assert outcome.left_out == {"int8_fast": "too slow today"}
    assert set(outcome.runners) == {"torch_fp32", "fp32"}
    assert {one["runner"] for one in outcome.samples} == {"torch_fp32", "fp32"}


def test_who_fails_with_more_threads_keeps_what_it_ran_with_one(
    run: Callable[[int], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(run, 27)
    monkeypatch.setattr(Counting, "broken", ("int8_fast", 2))
    outcome = run(1000)
    assert {one["threads"] for one in outcome.samples if one["runner"] == "int8_fast"} == {1}
    assert "int8_fast" in outcome.runners


def test_other_settings_batches_or_machines_find_nothing_of_it(
    workload: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "config.json").write_text("{}")

    def found(batches: dict[str, Batch] = workload.batches, settings: object = "s") -> Path:
        return progress_of(tmp_path, checkpoint, batches, settings).file

    first = found()
    assert found() == first
    others = {found(settings="t"), found(settings=str(Isa(AVX2, True)))}
    others.add(found({**workload.batches, "length-8": {"input_ids": np.zeros((1, 8), np.int64)}}))
    (checkpoint / "config.json").write_text('{"other": 1}')
    others.add(found())
    (checkpoint / "config.json").write_text("{}")
    monkeypatch.setattr("bench.progress.environment", lambda: {"cpu": "another"})
    others.add(found())
    assert len(others | {first}) == 6


def test_it_is_dropped_once_the_results_are_written(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "unfinished.json")
    progress.keep(Outcome(finished=[[1, 0]]))
    assert progress.read().finished == [[1, 0]]
    progress.drop()
    progress.drop()
    assert progress.read() == Outcome()
