"""The fault driver's own judgement: what it must find, and what it must let pass."""

from dataclasses import replace

import pytest

from tests.faults.comparing import Files, Reference
from tests.faults.finding import Kind, Record, Trial, Wrong
from tests.faults.jobs import Job, jobs

INPUT = {"params.yaml": b"seed: 1"}
OLD = {"out/a.json": b'{"f1": 0.1}', "out/b.json": b'{"f1": 0.2}', "times.csv": b"ms\n1\n2\n"}
NEW = {"out/a.json": b'{"f1": 0.8}', "out/b.json": b'{"f1": 0.9}', "times.csv": b"ms\n3\n4\n"}
JOB = Job(("-m", "stages.evaluate", "mrpc"), ("out", "times.csv"))
REFERENCE = Reference(JOB, INPUT | OLD, INPUT | NEW, frozenset(["times.csv"]), [], "", 1.0)


@pytest.mark.parametrize(
    "now",
    [
        INPUT,
        INPUT | OLD,
        INPUT | NEW,
        INPUT | OLD | {"out/a.json": NEW["out/a.json"], "out/b.json": NEW["out/b.json"]},
        INPUT | {"out.partial/a.json": b'{"f1'} | {".training/mrpc-42/weights": b"1"},
        INPUT | NEW | {"times.csv": b"ms\n8\n9\n"},
    ],
    ids=["absent", "old", "new", "each output by itself", "unfinished", "other timings"],
)
def test_after_a_kill_an_output_may_be_absent_old_or_new(now: Files) -> None:
    assert REFERENCE.half_written(INPUT | OLD, now) == []


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        (INPUT | {"out/a.json": OLD["out/a.json"]}, Kind.HALF_WRITTEN),
        (INPUT | NEW | {"out/b.json": OLD["out/b.json"]}, Kind.HALF_WRITTEN),
        (INPUT | NEW | {"out/b.json": b'{"f1'}, Kind.HALF_WRITTEN),
        (INPUT | NEW | {"times.csv": b"ms\n8\n"}, Kind.HALF_WRITTEN),
        (NEW, Kind.LOST),
        (NEW | {"params.yaml": b""}, Kind.LOST),
        (INPUT | NEW | {"core.123": b""}, Kind.LEFT),
    ],
    ids=["half a folder", "mixed", "torn", "torn timings", "input gone", "input emptied", "debris"],
)
def test_after_a_kill_nothing_in_between_is_let_pass(now: Files, kind: Kind) -> None:
    assert [wrong.kind for wrong in REFERENCE.half_written(INPUT | OLD, now)] == [kind]


@pytest.mark.parametrize(
    ("now", "kind"),
    [
        (INPUT | NEW | {"out/a.json": b'{"f1": 0.7}'}, Kind.SILENT),
        (INPUT | NEW | {"out.partial/a.json": b""}, Kind.LEFT),
        ({**NEW}, Kind.LOST),
    ],
    ids=["another score", "a partial", "input gone"],
)
def test_what_ended_well_is_as_undisturbed(now: Files, kind: Kind) -> None:
    assert [wrong.kind for wrong in REFERENCE.not_as_undisturbed(now)] == [kind]


def test_a_job_is_as_dvc_yaml_has_it() -> None:
    params = {"tasks": ["mrpc"], "finetune": {"seeds": [1, 2]}, "quantize": {"fp32": {}}}
    found = {job.name: job for job in jobs(params)}
    assert found["quantize mrpc 2 fp32"].outputs == ("models/mrpc/seed_2/fp32",)
    assert "metrics/outside" in found["environment"].stays
    assert list(found)[-1] == "summary"


def test_the_record_counts_a_trial_once_for_each_kind() -> None:
    record, wrong = Record(), Wrong(Kind.LOST, "x is gone")
    for point in ("event 1", "event 2"):
        record.add(Trial("kill", JOB.name, point, (wrong, replace(wrong, what="y is gone"))))
    record.add(Trial("kill", JOB.name, "event 3"))
    [counts] = record.counts()
    assert (counts["tried"], counts["lost"], counts["silent"]) == (3, 2, 0)
    assert [finding["times"] for finding in record.findings()] == [2, 2]
