"""From samples to the figures of the race: pure functions."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from bench import peers
from bench.workloads import Operations, Workload

RESAMPLES = 4000


def pass_seconds(
    samples: pd.DataFrame, model: str, threads: int, runner: str, workload: Workload
) -> float | None:
    """Seconds for all rows: the sum of every batch's median. None if it did not take part.

    Where only some of a kind's batches were timed (the tutorial's, which all have one shape), the
    mean stands for the others.
    """
    calls = samples[
        (samples["model"] == model)
        & (samples["threads"] == threads)
        & (samples["runner"] == runner)
        & (samples["kind"] != "length")
    ]
    if calls.empty:
        return None
    medians = calls.groupby("batch")["ms"].median()
    return float(medians.mean() * len(workload.names(calls["kind"].iloc[0])) / 1000)


def single_ms(samples: pd.DataFrame, model: str, runner: str, length: int) -> float | None:
    """Median milliseconds of one text of so many tokens, at the first thread count."""
    calls = samples[
        (samples["model"] == model)
        & (samples["runner"] == runner)
        & (samples["batch"] == f"length-{length}")
    ]
    return None if calls.empty else float(calls["ms"].median())


def best_peer(figures: Mapping[str, float | None]) -> str | None:
    """Of other people's int8 the one with the least; `figures` are time or memory by runner."""
    theirs = {name: figures.get(name) for name in peers.others_int8()}
    return least(theirs)


def least(figures: Mapping[str, float | None]) -> str | None:
    """Whose figure is the smallest; None where there is none."""
    known = {name: value for name, value in figures.items() if value is not None}
    return min(known, key=lambda name: known[name]) if known else None


def lead_interval(
    samples: pd.DataFrame, model: str, peer: str, ours: str, length: int | None = None
) -> tuple[float, float]:
    """Within which 95 % of reruns lie, as far as this run can tell: how many times as fast.

    Resampled are the batches, which both were given one soon after the other; of a single text its
    calls. Takes calls of the first thread count.

    Args:
        length: of a single text; None for all rows.
    """
    kind = "sorted" if length is None else "length"
    calls = samples[(samples["model"] == model) & (samples["kind"] == kind)]
    calls = calls[calls["threads"] == calls["threads"].min()]
    if length is not None:
        calls = calls[calls["batch"] == f"length-{length}"]
    random = np.random.default_rng(0)
    if length is None:
        table = calls.pivot_table(index="batch", columns="runner", values="ms", aggfunc="median")
        pairs = table[[peer, ours]].dropna().to_numpy()
        sums = pairs[random.integers(len(pairs), size=(RESAMPLES, len(pairs)))].sum(axis=1)
        ratios = sums[:, 0] / sums[:, 1]
    else:
        both = [calls.loc[calls["runner"] == name, "ms"].to_numpy() for name in (peer, ours)]
        drawn = [np.median(random.choice(ms, (RESAMPLES, len(ms))), axis=1) for ms in both]
        ratios = drawn[0] / drawn[1]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def ratio(slower: float | None, faster: float | None) -> float | None:
    """How many times as fast; None where one of them was not measured."""
    return slower / faster if slower is not None and faster else None


def geomean(ratios: Iterable[float]) -> float | None:
    values = list(ratios)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def differing(answers: Mapping[int, int], reference: Mapping[int, int]) -> int | None:
    """Rows to which both gave an answer, and not the same; None if there is no such row."""
    both = set(answers) & set(reference)
    return sum(answers[row] != reference[row] for row in both) if both else None


def gops(
    operations: Operations, first_token_only: bool, tokens: int, texts: int, seconds: float
) -> float:
    """Billions of operations per second of the linear layers; what is left out is not counted.

    Padding, which is computed for nothing, is not counted either.

    Args:
        first_token_only: whether the last layer asks for no more.
    """
    asked = texts if first_token_only else tokens
    return operations.of(tokens, asked) / seconds / 1e9
