"""Which variant to ship: the Pareto front of score, latency and size, and the choice on it."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.measure.verdict import WITHIN

# What stage compare knows of one variant.
Row = Mapping[str, float | str]


@dataclass(frozen=True)
class Choice:
    """A variant, and why it and no other."""

    variant: str
    reason: str


def dominates(one: Row, other: Row, score: str) -> bool:
    """At least as good everywhere and better somewhere: higher score, lower p90 and size."""
    pairs = [
        (float(one[score]), float(other[score])),
        (-float(one["p90_ms"]), -float(other["p90_ms"])),
        (-float(one["size_mb"]), -float(other["size_mb"])),
    ]
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def front(rows: Mapping[str, Row], score: str) -> list[str]:
    """Variants that no other one dominates, in the order of `rows`.

    Args:
        score: the key of the metric, higher is better.
    """
    return [
        name
        for name, row in rows.items()
        if not any(dominates(other, row, score) for other in rows.values())
    ]


def choose(rows: Mapping[str, Row], reference: str, headline: str, budget_points: float) -> Choice:
    """The fastest of the reference and the variants on the front that are within the budget.

    Args:
        rows: by variant, with `<headline>_mean`, `<headline>_drop_mean_high`, `verdict`, `p90_ms`,
            `speedup_p90`, `size_mb`.
    """
    on_front = [name for name in front(rows, f"{headline}_mean") if name != reference]
    fit = [name for name in on_front if rows[name]["verdict"] == WITHIN]
    best = min([reference, *fit], key=lambda name: float(rows[name]["p90_ms"]))
    budget = f"the budget of {budget_points:g} points of {headline}"
    if best != reference:
        return Choice(
            best,
            f"the fastest on the front within {budget} ({', '.join(fit)}): p90 "
            f"{rows[best]['p90_ms']:.2f} ms, {rows[best]['speedup_p90']:.2f}x, "
            f"{rows[best]['size_mb']:.1f} MB",
        )
    faster = [n for n in on_front if float(rows[n]["p90_ms"]) < float(rows[reference]["p90_ms"])]
    if not faster:
        return Choice(reference, "no variant on the front is faster")
    nearest = min(faster, key=lambda name: float(rows[name][f"{headline}_drop_mean_high"]))
    return Choice(
        reference,
        f"no faster variant on the front is known to be within {budget}; nearest is {nearest}, "
        f"whose drop may be {rows[nearest][f'{headline}_drop_mean_high']:.2f}",
    )
