"""Which groups of layers stay in fp32: the decision, on tables of invented drops."""

from dataclasses import dataclass

import pytest

from stages.variants.int8_mixed.budget import Candidate, decide, next_to_try, ranking

RANKED = ["a", "b", "c"]


def kept(count: int, drop: float, high: float) -> Candidate:
    return Candidate(tuple(RANKED[:count]), drop, high)


@dataclass(frozen=True)
class Ranking:
    reason: str
    sensitivity: dict[str, float]
    expected: list[str]


RANKINGS = [
    Ranking("no group", {}, []),
    Ranking("one group", {"a": 0.5}, ["a"]),
    Ranking("the most sensitive first", {"a": 0.1, "b": 0.9, "c": 0.5}, ["b", "c", "a"]),
    Ranking("equal ones by name", {"c": 0.2, "a": 0.2, "b": 0.3}, ["b", "a", "c"]),
    Ranking("zero is the last but negative", {"a": -0.1, "b": 0.0, "c": 0.1}, ["c", "b", "a"]),
]


@pytest.mark.parametrize("case", RANKINGS, ids=lambda case: case.reason)
def test_ranking(case: Ranking) -> None:
    assert ranking(case.sensitivity) == case.expected


@dataclass(frozen=True)
class Next:
    reason: str
    tried: list[Candidate]
    budget: float
    expected: tuple[str, ...] | None
    ranked: tuple[str, ...] = tuple(RANKED)


OVER = [kept(0, 2, 3), kept(1, 1.5, 2.5), kept(2, 1.2, 2.0)]
NEXT = [
    Next("nothing in fp32 comes first", [], 0.5, ()),
    Next("the first one fits", [kept(0, 0.1, 0.5)], 0.5, None),
    Next("one group more than the last", OVER[:1], 0.5, ("a",)),
    Next("two groups more than the first", OVER[:2], 0.5, ("a", "b")),
    Next("all in fp32 would be fp32 itself", OVER, 0.5, None),
    Next("better than fp32", [kept(0, -1.0, -0.2)], 0.0, None),
    Next("the upper end decides, not the drop", [kept(0, -1.0, 0.6)], 0.5, ("a",)),
    Next("a budget of zero that is just kept", [kept(0, 0.0, 0.0)], 0.0, None),
    Next("one group only", [], 0.5, (), ("a",)),
    Next("one group only, which is not to be kept", OVER[:1], 0.5, None, ("a",)),
    Next("no group", [], 0.5, None, ()),
]


@pytest.mark.parametrize("case", NEXT, ids=lambda case: case.reason)
def test_next_to_try(case: Next) -> None:
    assert next_to_try(list(case.ranked), case.tried, case.budget) == case.expected


@dataclass(frozen=True)
class Decided:
    reason: str
    tried: list[Candidate]
    budget: float
    kept: int
    met: bool


DECIDED = [
    Decided("the first fits", [kept(0, 0.1, 0.4)], 0.5, 0, True),
    Decided("the last of all fits", [*OVER[:2], kept(2, 0.2, 0.5)], 0.5, 2, True),
    Decided("the fewest groups, though more drop less",
            [kept(0, 1, 2), kept(1, 0.4, 0.5), kept(2, 0.0, 0.1)], 0.5, 1, True),
    Decided("none fits: the smallest upper end", OVER, 0.5, 2, False),
    Decided("none fits, and more in fp32 is no better",
            [kept(0, 2, 3), kept(1, 1, 2), kept(2, 1.5, 2.5)], 0.5, 1, False),
    Decided("none fits, equal ones: the fewest groups", [kept(0, 1, 2), kept(1, 1, 2)], 0.5, 0,
            False),
    Decided("a small drop with a wide interval does not fit", [kept(0, 0.0, 1.2)], 0.5, 0, False),
    Decided("better than fp32 fits any budget", [kept(0, -2.0, -0.5)], 0.0, 0, True),
    Decided("better on average, not for sure", [kept(0, -2.0, 0.5), kept(1, -1.0, 0.0)], 0.0, 1,
            True),
    Decided("equal to fp32 fits a budget of zero", [kept(0, 0.0, 0.0)], 0.0, 0, True),
]  # fmt: skip


@pytest.mark.parametrize("case", DECIDED, ids=lambda case: case.reason)
def test_decide(case: Decided) -> None:
    decision = decide(case.tried, case.budget)
    assert (decision.kept, decision.met) == (tuple(RANKED[: case.kept]), case.met)


def test_equal_numbers_of_groups_are_decided_by_the_interval() -> None:
    tried = [Candidate(("a",), 0.2, 0.4), Candidate(("b",), 0.3, 0.3)]
    assert decide(tried, 0.5).kept == ("b",)


def test_nothing_tried_is_no_decision() -> None:
    with pytest.raises(ValueError, match="no candidate"):
        decide([], 1.0)


def test_the_reason_says_what_why_and_how_close() -> None:
    assert decide([kept(0, 0.1, 0.4)], 0.5).reason == (
        "nothing in fp32: a drop of 0.10 points, at most 0.40, within the budget of 0.5"
    )
    assert decide(OVER, 0.5).reason == (
        "a, b in fp32: a drop of 1.20 points, at most 2.00, the smallest of 3 candidates, none of "
        "them within the budget of 0.5"
    )


@dataclass(frozen=True)
class Search:
    """`highs[n]` is the upper end of the drop with n groups in fp32."""

    reason: str
    highs: list[float]
    tries: int
    kept: int


SEARCHES = [
    Search("at once", [0.1, 0.1, 0.1], 1, 0),
    Search("after one", [0.9, 0.5, 0.1], 2, 1),
    Search("on the very last candidate", [0.9, 0.8, 0.5], 3, 2),
    Search("never", [0.9, 0.8, 0.7], 3, 2),
    Search("never, the first was the best", [0.7, 0.8, 0.9], 3, 0),
]


@pytest.mark.parametrize("case", SEARCHES, ids=lambda case: case.reason)
def test_the_search_stops_at_the_first_candidate_that_fits(case: Search) -> None:
    tried: list[Candidate] = []
    while (groups := next_to_try(RANKED, tried, 0.5)) is not None:
        tried.append(Candidate(groups, 0.0, case.highs[len(groups)]))
    assert len(tried) == case.tries
    assert decide(tried, 0.5).kept == tuple(RANKED[: case.kept])
