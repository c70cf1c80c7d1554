"""From samples to the figures of the race: pure functions."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from bench.peers import OTHERS_INT8
from bench.workloads import Operations, Workload

FIRST_TOKEN_ONLY = ("int8_fast",)  # is all that the last layer of these asks for


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
    """The fastest of other people's int8; `figures` are seconds or milliseconds by runner."""
    theirs = {name: value for name in OTHERS_INT8 if (value := figures.get(name)) is not None}
    return min(theirs, key=lambda name: theirs[name]) if theirs else None


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


def gops(operations: Operations, runner: str, tokens: int, texts: int, seconds: float) -> float:
    """Billions of operations per second of the linear layers; what is left out is not counted.

    Padding, which is computed for nothing, is not counted either.
    """
    asked = texts if runner in FIRST_TOKEN_ONLY else tokens
    return operations.of(tokens, asked) / seconds / 1e9
