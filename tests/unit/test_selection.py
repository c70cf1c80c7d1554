"""Which variant ships: the front and the choice on it, on tables of invented rows."""

from dataclasses import dataclass

import pytest

from stages.measure.selection import Contender, choose, front

WITHIN, UNDECIDED, OVER = "within budget", "undecided at this n", "over budget"


def row(f1: float, p90: float, mb: float, verdict: str = WITHIN, high: float = 0.5) -> Contender:
    return Contender(f1, high, verdict, p90_ms=p90, speedup_p90=20 / p90, size_mb=mb)


FP32 = row(0.90, 20.0, 90.0, "reference", 0.0)


@dataclass(frozen=True)
class Front:
    reason: str
    rows: dict[str, Contender]
    expected: list[str]


FRONTS = [
    Front("nothing", {}, []),
    Front("one alone", {"fp32": FP32}, ["fp32"]),
    Front("better in all three", {"fp32": FP32, "a": row(0.91, 10, 40)}, ["a"]),
    Front("each best in one", {"a": row(0.9, 20, 90), "b": row(0.8, 10, 90), "c": row(0.8, 20, 40)},
          ["a", "b", "c"]),
    Front("the same score, faster and smaller", {"fp32": FP32, "a": row(0.90, 10, 40)}, ["a"]),
    Front("better in one, equal in two", {"a": row(0.9, 10, 40), "b": row(0.9, 10, 41)}, ["a"]),
    Front("equal rows are both on it", {"a": row(0.9, 10, 40), "b": row(0.9, 10, 40)}, ["a", "b"]),
    Front("equal rows, both dominated",
          {"a": row(0.8, 10, 40), "b": row(0.8, 10, 40), "c": row(0.9, 10, 40)}, ["c"]),
    Front("the order of the rows", {"b": row(0.8, 5, 40), "a": row(0.9, 10, 40)}, ["b", "a"]),
    Front("worse in all three", {"fp32": FP32, "a": row(0.89, 30, 99)}, ["fp32"]),
]  # fmt: skip


@pytest.mark.parametrize("case", FRONTS, ids=lambda case: case.reason)
def test_front(case: Front) -> None:
    assert front(case.rows) == case.expected


@dataclass(frozen=True)
class Chosen:
    reason: str
    rows: dict[str, Contender]
    expected: str
    because: str


CHOSEN = [
    Chosen("fp32 alone", {}, "fp32", "no variant on the front is faster"),
    Chosen("the only variant", {"a": row(0.9, 10, 40)}, "a", "(a): p90 10.00 ms, 2.00x, 40.0 MB"),
    Chosen("the fastest of two", {"a": row(0.9, 10, 40), "b": row(0.89, 5, 40)}, "b", "(a, b)"),
    Chosen("not the smallest, nor the best",
           {"a": row(0.9, 10, 20), "b": row(0.89, 5, 40)}, "b", "5.00 ms"),
    Chosen("a faster one that is over the budget",
           {"a": row(0.9, 10, 40), "b": row(0.8, 5, 40, OVER)}, "a", "(a)"),
    Chosen("a faster one that is undecided",
           {"a": row(0.9, 10, 40), "b": row(0.89, 5, 40, UNDECIDED)}, "a", "(a)"),
    Chosen("within the budget, but not on the front",
           {"a": row(0.91, 10, 40, UNDECIDED, 1.5), "b": row(0.9, 12, 50)}, "fp32",
           "nearest is a, whose drop may be 1.50"),
    Chosen("all undecided: the nearest is named",
           {"a": row(0.89, 10, 40, UNDECIDED, 1.7), "b": row(0.88, 5, 40, UNDECIDED, 1.2)},
           "fp32", "nearest is b, whose drop may be 1.20"),
    Chosen("all over the budget", {"a": row(0.7, 10, 40, OVER, 9.0)}, "fp32",
           "no faster variant on the front is known to be within the budget of 1 points of f1"),
    Chosen("fp32 is faster than all", {"a": row(0.9, 25, 40), "b": row(0.9, 30, 20)}, "fp32",
           "no variant on the front is faster"),
    Chosen("as fast as fp32, and smaller", {"a": row(0.9, 20, 40)}, "fp32",
           "no variant on the front is faster"),
    Chosen("better than fp32 and faster, so that fp32 is off the front",
           {"a": row(0.92, 10, 40, WITHIN, -1.0)}, "a", "fastest"),
    Chosen("equal rows: the first", {"a": row(0.9, 10, 40), "b": row(0.9, 10, 40)}, "a", "(a, b)"),
]  # fmt: skip


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.reason)
def test_choose(case: Chosen) -> None:
    choice = choose({"fp32": FP32} | case.rows, "fp32", "f1", 1.0)
    assert choice.variant == case.expected
    assert case.because in choice.reason


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = {"a": row(0.9, 10, 40), "b": row(0.89, 5, 40), "fp32": FP32}
    backwards = dict(reversed(rows.items()))
    assert choose(rows, "fp32", "f1", 1.0).variant == choose(backwards, "fp32", "f1", 1.0).variant
