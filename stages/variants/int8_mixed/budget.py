"""Which layers stay in fp32? The decision of accuracy-aware quantization, apart from its loop."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A model with some groups of layers kept in fp32, measured against fp32 on the same rows.

    Attributes:
        kept: names of the groups in fp32.
        drop_points: fp32's metric minus its own, in points; negative where it is better.
        drop_high: upper end of that drop's interval.
    """

    kept: tuple[str, ...]
    drop_points: float
    drop_high: float


@dataclass(frozen=True)
class Decision:
    """What to build, and why; `met` says whether the budget is kept."""

    kept: tuple[str, ...]
    met: bool
    reason: str


def ranking(sensitivity: dict[str, float]) -> list[str]:
    """Groups, the most sensitive first; equal ones in the order of their names."""
    return sorted(sensitivity, key=lambda group: (-sensitivity[group], group))


def next_to_try(
    ranked: list[str], tried: list[Candidate], max_drop_points: float
) -> tuple[str, ...] | None:
    """The groups that the next candidate keeps: one more than the last; None when it is over.

    It is over when the last candidate meets the budget, or when one more would keep everything.
    """
    if tried and tried[-1].drop_high <= max_drop_points:
        return None
    count = len(tried)
    return tuple(ranked[:count]) if count < len(ranked) else None


def decide(tried: list[Candidate], max_drop_points: float) -> Decision:
    """The candidate with the fewest groups in fp32 among those that meet the budget.

    A budget is met when the whole interval of the drop is. If none meets it, the one with the
    smallest upper end, so that a user always gets the best that there is, with the reason.

    Raises:
        ValueError: nothing was tried.
    """
    if not tried:
        raise ValueError("no candidate was measured")
    meeting = [candidate for candidate in tried if candidate.drop_high <= max_drop_points]
    if meeting:
        best = min(meeting, key=lambda candidate: (len(candidate.kept), candidate.drop_high))
        word = "within"
    else:
        best = min(tried, key=lambda candidate: (candidate.drop_high, len(candidate.kept)))
        word = f"the smallest of {len(tried)} candidates, none of them within"
    groups = ", ".join(best.kept) if best.kept else "nothing"
    return Decision(
        best.kept,
        bool(meeting),
        f"{groups} in fp32: a drop of {best.drop_points:.2f} points, at most {best.drop_high:.2f}, "
        f"{word} the budget of {max_drop_points:g}",
    )
