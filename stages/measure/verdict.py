"""Where it is decided whether a variant is good enough: an interval of its drop and a budget."""

from stages.measure.statistics import Interval

WITHIN, OVER, UNDECIDED = "within budget", "over budget", "undecided at this n"


def verdict(drop: Interval, budget: float) -> str:
    """Whether a drop of a metric is known to lie within a budget, both in points."""
    if drop.high <= budget:
        return WITHIN
    if drop.low > budget:
        return OVER
    return UNDECIDED
