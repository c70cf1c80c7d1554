"""MLPerf's LoadGen on the same callables, as a check of our own clock.

SingleStream gives the 90th percentile of single texts, Offline the texts per second of all of them
at once. Both clocks take turns in one process, and it is their ratio within a turn that counts. A
shared machine changes its speed from one tenth of a second to the next by more than the two may
differ, so turns are short and many: each takes some of the texts, spread over all lengths, and not
fewer than LoadGen wants for a 90th percentile.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.isa import Isa, NotHidden, hide_from
from stages.measure.timing import percentile
from stages.model.tokens import Batch, Predict
from stages.running.timed_process import read_batches, save_batches

AGREE_PCT = 5.0
PASSES, LEAST = 16, 64
OURS, THEIRS = "ours", "loadgen"
Turns = list[dict[str, float]]  # one figure by clock


@dataclass(frozen=True)
class Share:
    """Of the texts: alone, and some others in batches."""

    predict: Predict
    singles: list[Batch]
    batches: list[Batch]

    @property
    def rows(self) -> int:
        return sum(len(batch["input_ids"]) for batch in self.batches)

    def alone(self, i: int) -> None:
        self.predict(self.singles[i])

    def everything(self) -> None:
        for batch in self.batches:
            self.predict(batch)


def available() -> bool:
    return importlib.util.find_spec("mlperf_loadgen") is not None


def check(
    name: str, folder: Path, singles: dict[str, Batch], sorted_: dict[str, Batch], isa: Isa
) -> dict[str, Any]:
    """LoadGen's and our figures for one runner, on one thread.

    Args:
        singles: texts alone, for SingleStream.
        sorted_: the race's batches, for Offline.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "batches.safetensors"
        save_batches(singles | sorted_, file)
        environment = os.environ | isa.environment | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "bench.loadgen", name, str(folder.absolute()), str(file)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return {"error": f"LoadGen on {name} ended with code {done.returncode}"}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run(name: str, folder: str, file: str) -> dict[str, Any]:
    """The child."""
    loaded = read_batches(Path(file))
    ordered = sorted(loaded, key=lambda key: [int(number) for number in re.findall(r"\d+", key)])
    singles = [loaded[key] for key in ordered if key.startswith("single")]
    batches = [loaded[key] for key in ordered if key.startswith("sorted")]
    peer = peers.get(name)
    try:
        hide_from(peer.LIBRARY)
    except NotHidden as error:
        return {"error": str(error)}
    predict, _ = peer.load(Path(folder), 1)

    parts = max(1, min(len(singles) // LEAST, len(batches)))
    shares = [Share(predict, singles[i::parts], batches[i::parts]) for i in range(parts)]
    p90: Turns = []
    rate: Turns = []
    for number in range(PASSES + 1):
        for i, share in enumerate(shares):
            order = (OURS, THEIRS)[:: 1 if (i + number) % 2 else -1]
            times = {clock: CLOCKS[clock][0](share.alone, len(share.singles)) for clock in order}
            rates = {clock: CLOCKS[clock][1](share.everything, share.rows) for clock in order}
            if number:  # the first pass warms up
                p90.append(times)
                rate.append(rates)
    return {"single_stream_p90_ms": compared(p90), "offline_samples_per_s": compared(rate)}


def compared(turns: Turns) -> dict[str, Any]:
    """The median of each clock, and of how they differ within a turn, with its 95 % interval."""
    ours, theirs = (float(np.median([turn[clock] for turn in turns])) for clock in (OURS, THEIRS))
    ratios = np.array([turn[OURS] / turn[THEIRS] for turn in turns])
    again = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    ends = np.quantile(np.median(again, axis=1), (0.025, 0.975))
    difference = 100 * (float(np.median(ratios)) - 1)
    return {
        "ours": ours,
        "loadgen": theirs,
        "difference_pct": difference,
        "interval_pct": [100 * (float(end) - 1) for end in ends],
        "within_5_pct": bool(abs(difference) <= AGREE_PCT),
        "turns": turns,
    }


def our_p90(alone: Callable[[int], None], count: int) -> float:
    times = []
    # In any order, as LoadGen: a slow moment would else fall on all of the longest texts or none.
    for i in np.random.default_rng(0).permutation(count).tolist():
        start = time.perf_counter()
        alone(i)
        times.append(1000 * (time.perf_counter() - start))
    return percentile(np.array(times), 0.9)


def our_rate(everything: Callable[[], None], rows: int) -> float:
    start = time.perf_counter()
    everything()
    return rows / (time.perf_counter() - start)


def single_stream(alone: Callable[[int], None], count: int) -> float:
    import mlperf_loadgen as lg

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = count
    settings.performance_issue_unique = True  # each text once, as ours, not drawn with replacement
    settings.min_duration_ms = 0

    def issue(queries: Any) -> None:
        for query in queries:
            alone(query.index)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, 0, 0)])

    summary = under_loadgen(settings, issue, count)
    return float(summary["90.00 percentile latency (ns)"]) / 1e6


def offline(everything: Callable[[], None], rows: int) -> float:
    import mlperf_loadgen as lg

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.Offline
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 0
    settings.min_query_count = settings.max_query_count = rows
    settings.offline_expected_qps = 1

    def issue(queries: Any) -> None:
        assert len(queries) == rows, f"LoadGen asked for {len(queries)} texts, not {rows}"
        everything()  # Offline leaves the order to us
        lg.QuerySamplesComplete([lg.QuerySampleResponse(query.id, 0, 0) for query in queries])

    return float(under_loadgen(settings, issue, rows)["Samples per second"])


def under_loadgen(settings: Any, issue: Callable[[Any], None], count: int) -> dict[str, str]:
    """Run one test; LoadGen's own summary, line by line."""
    import mlperf_loadgen as lg

    with tempfile.TemporaryDirectory() as folder:
        output = lg.LogOutputSettings()
        output.outdir = folder
        output.copy_summary_to_stdout = False
        logging = lg.LogSettings()
        logging.log_output = output
        logging.enable_trace = False
        system = lg.ConstructSUT(issue, lambda: None)
        library = lg.ConstructQSL(count, count, lambda _: None, lambda _: None)
        lg.StartTestWithLogSettings(system, library, settings, logging, "")
        lg.DestroyQSL(library)
        lg.DestroySUT(system)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text()
    lines = [line.partition(":") for line in summary.splitlines() if ":" in line]
    return {key.strip(): value.strip() for key, _, value in lines}


# Of single texts one by one, and of all of them.
CLOCKS = {OURS: (our_p90, our_rate), THEIRS: (single_stream, offline)}


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(run(*sys.argv[1:])), file=answers)
