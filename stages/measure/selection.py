"""Which variant to ship: the Pareto front of score, latency and size, and the choice on it."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.measure.verdict import WITHIN


@dataclass(frozen=True)
class Contender:
    """A variant, as far as it matters for the choice.

    Attributes:
        score: of the task's first metric, higher is better.
        drop_high: upper end of the interval of its drop against fp32, in points.
    """

    score: float
    drop_high: float
    verdict: str
    p90_ms: float
    speedup_p90: float
    size_mb: float


@dataclass(frozen=True)
class Choice:
    """A variant, and why it and no other."""

    variant: str
    reason: str


def dominates(one: Contender, other: Contender) -> bool:
    """At least as good everywhere and better somewhere: higher score, lower p90 and size."""
    pairs = [
        (one.score, other.score),
        (-one.p90_ms, -other.p90_ms),
        (-one.size_mb, -other.size_mb),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def front(contenders: Mapping[str, Contender]) -> list[str]:
    """Variants that no other one dominates, in the order of `contenders`."""
    return [
        name
        for name, one in contenders.items()
        if not any(dominates(other, one) for other in contenders.values())
    ]


def choose(
    contenders: Mapping[str, Contender], reference: str, headline: str, budget_points: float
) -> Choice:
    """The fastest of the reference and the variants on the front that are within the budget.

    Args:
        headline: name of the metric, for the reason.
    """
    on_front = [name for name in front(contenders) if name != reference]
    fit = [name for name in on_front if contenders[name].verdict == WITHIN]
    best = min([reference, *fit], key=lambda name: contenders[name].p90_ms)
    budget = f"the budget of {budget_points:g} points of {headline}"
    if best != reference:
        chosen = contenders[best]
        return Choice(
            best,
            f"the fastest on the front within {budget} ({', '.join(fit)}): p90 "
            f"{chosen.p90_ms:.2f} ms, {chosen.speedup_p90:.2f}x, {chosen.size_mb:.1f} MB",
        )
    faster = [n for n in on_front if contenders[n].p90_ms < contenders[reference].p90_ms]
    if not faster:
        return Choice(reference, "no variant on the front is faster")
    nearest = min(faster, key=lambda name: contenders[name].drop_high)
    return Choice(
        reference,
        f"no faster variant on the front is known to be within {budget}; nearest is {nearest}, "
        f"whose drop may be {contenders[nearest].drop_high:.2f}",
    )
