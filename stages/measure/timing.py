"""How fast: percentiles of timed calls, by MLPerf inference's rules for a single stream."""

import math
from collections.abc import Sequence

import numpy as np

# Samples that LoadGen demands before it reports a percentile at 99 % confidence.
P90_SAMPLES, P99_SAMPLES = 64, 662


def group_name(batch_size: int, threads: int | str) -> str:
    """The key in metrics/<task>/latency/<variant>.json."""
    return f"batch{batch_size}_threads_{threads}"


def groups(batch_sizes: Sequence[int], threads: Sequence[int | str]) -> list[str]:
    """All that are timed; the first is the one in the headline."""
    return [group_name(size, count) for size in batch_sizes for count in threads]


def cost_per_million(throughput_per_s: float, cores: int, price_per_core_hour: float) -> float:
    """Of a million texts, in the currency of the price."""
    return 1e6 / throughput_per_s / 3600 * cores * price_per_core_hour


def percentile(milliseconds: np.ndarray, q: float) -> float:
    """The smallest sample that at least a share `q` of all samples do not exceed."""
    ordered = np.sort(milliseconds)
    return float(ordered[max(0, math.ceil(q * len(ordered)) - 1)])


def summarize(rounds: list[np.ndarray], batch_size: int) -> dict[str, float | int]:
    """One variant at one batch size and thread count.

    Args:
        rounds: milliseconds per call, one array per fresh process.

    Returns:
        `p50_ms`, `p90_ms` (from 64 calls on), `p99_ms` (from 662 calls on), `mean_ms` and that of
        each round, `throughput_per_s` in texts, `calls`, and `p50_spread_pct`: how far the rounds'
        medians lie apart.
    """
    calls = np.concatenate(rounds)
    medians = [percentile(values, 0.5) for values in rounds]
    result: dict[str, float | int] = {"p50_ms": percentile(calls, 0.5)}
    if len(calls) >= P90_SAMPLES:
        result["p90_ms"] = percentile(calls, 0.9)
    if len(calls) >= P99_SAMPLES:
        result["p99_ms"] = percentile(calls, 0.99)
    result["mean_ms"] = float(calls.mean())
    for number, values in enumerate(rounds, start=1):
        result[f"round_{number}_mean_ms"] = float(values.mean())
    result["throughput_per_s"] = batch_size * len(calls) / (calls.sum() / 1000)
    result["calls"] = len(calls)
    result["p50_spread_pct"] = 100 * (max(medians) / min(medians) - 1)
    return result
