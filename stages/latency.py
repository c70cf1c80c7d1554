"""Time all variants of a task interleaved in one run, so that their ratio is honest.

Each variant runs in fresh processes of its own; blocks of calls go round robin over the variants
(A B A B ...), so that a change of the machine's speed hits all of them. Real validation texts;
tokenization is timed apart.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout
from tqdm import tqdm

from stages import tasks
from stages.measure.environment import all_threads
from stages.measure.timed_process import TimedProcess, save_batches
from stages.measure.timing import percentile, summarize
from stages.models.artifact import read_manifest
from stages.models.tokens import Batch, encode, load_tokenizer, pad
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file, new_folder, read_json, write_json
from stages.plumbing.params import Latency, Params, load_params

LOCK = Path(tempfile.gettempdir()) / "bertquant-latency.lock"
BLOCK = 8  # calls before the next variant's turn
# Other processes' share of the machine above which the timings are marked `contended`.
BUSY_PCT = 15.0
SEED = 0


def latency(task: str) -> None:
    """Write metrics/<task>/latency/<variant>.json and all samples to reports/<task>/latency.csv."""
    params = load_params()
    with one_timing_at_a_time(), tempfile.TemporaryDirectory() as temporary:
        busy = [busy_pct()]
        queries, tokenize_ms = make_queries(task, params.latency, list(params.quantize))
        file = Path(temporary) / "batches.safetensors"
        save_batches(queries, file)
        samples: list[dict] = []
        for number in range(params.latency.rounds):
            samples += one_round(task, list(params.quantize), params.latency, file, number)
            busy.append(busy_pct())
    write(task, params, pd.DataFrame(samples), tokenize_ms, max(busy))


@contextmanager
def one_timing_at_a_time() -> Iterator[None]:
    """Machine-wide, because `dvc queue start -j 2` runs whole pipelines side by side."""
    lock = FileLock(LOCK, mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"latency: another timing run holds {LOCK}; waiting for it to end", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def busy_pct() -> float:
    """The machine's load while this stage itself does nothing."""
    return float(psutil.cpu_percent(interval=0.5))


def make_queries(task: str, settings: Latency, names: list[str]) -> tuple[dict[str, Batch], float]:
    """Batches named `<batch size>-<number>`, the same for every variant, and ms to tokenize one."""
    artifact = paths.artifact(task, names[0])
    max_length = read_manifest(artifact).recipe.max_length
    tokenizer, definition = load_tokenizer(artifact), tasks.get(task)
    rows = pd.read_parquet(paths.split(task, "validation"))
    times = []
    tokens = []
    for i in range(len(rows)):
        start = time.perf_counter()
        tokens += encode(tokenizer, definition, rows.iloc[i : i + 1], max_length)
        times.append(1000 * (time.perf_counter() - start))
    random = np.random.default_rng(SEED)
    queries = {}
    for size in settings.batch_sizes:
        for number in range(settings.queries):
            chosen = [tokens[i] for i in random.integers(len(tokens), size=size)]
            queries[f"{size}-{number}"] = pad(tokenizer, chosen, settings.padding, max_length)
    return queries, percentile(np.array(times), 0.5)


def one_round(
    task: str, names: list[str], settings: Latency, batches: Path, number: int
) -> list[dict]:
    """Fresh processes for all variants and thread counts; this round's share of the queries."""
    processes: dict[tuple[str, str], TimedProcess] = {}
    samples = []
    try:
        for threads in settings.threads:
            count = all_threads() if threads == "all" else int(threads)
            for name in names:
                artifact = paths.artifact(task, name)
                processes[name, str(threads)] = TimedProcess(name, artifact, count, batches)
        for size in settings.batch_sizes:
            mine = [f"{size}-{i}" for i in range(number, settings.queries, settings.rounds)]
            warmup = [f"{size}-{i % settings.queries}" for i in range(settings.warmup)]
            for process in processes.values():
                process.milliseconds(warmup)
            blocks = [mine[start : start + BLOCK] for start in range(0, len(mine), BLOCK)]
            for block in tqdm(blocks, f"round {number + 1}/{settings.rounds}, batch {size}"):
                for (name, label), process in processes.items():
                    for ms in process.milliseconds(block):
                        facts = {"variant": name, "batch_size": size, "threads": label}
                        samples.append(facts | {"round": number, "ms": ms})
    finally:
        for process in processes.values():
            process.close()
    return samples


def write(
    task: str, params: Params, samples: pd.DataFrame, tokenize_ms: float, busy: float
) -> None:
    settings = params.latency
    machine = {
        "tokenize_ms": tokenize_ms,
        "other_load_pct": busy,
        "contended": int(busy > BUSY_PCT),
        "all_threads": all_threads(),
    } | read_json(paths.ENVIRONMENT)
    with new_folder(paths.METRICS / task / "latency") as folder:
        for name in params.quantize:
            groups = {
                group_name(size, threads): summarize(rounds(samples, name, size, threads), size)
                for size in settings.batch_sizes
                for threads in settings.threads
            }
            write_json(folder / f"{name}.json", groups | machine)
            for group, result in groups.items():
                print(f"{name} {group}: p50 {result['p50_ms']:.2f} p90 {result['p90_ms']:.2f} ms")
    with new_file(paths.REPORTS / task / "latency.csv") as partial:
        samples.to_csv(partial, index=False, float_format="%.4f")
    if busy > BUSY_PCT:
        print(f"WARNING: other processes took up to {busy:.0f} % of the machine; marked contended")


def rounds(
    samples: pd.DataFrame, variant: str, batch_size: int, threads: int | str
) -> list[np.ndarray]:
    """Milliseconds of each call, one array per fresh process."""
    keys = {"variant": variant, "batch_size": batch_size, "threads": str(threads)}
    mine = samples[np.logical_and.reduce([samples[key] == keys[key] for key in keys])]
    return [calls["ms"].to_numpy() for _, calls in mine.groupby("round")]


def group_name(batch_size: int, threads: int | str) -> str:
    return f"batch{batch_size}_threads_{threads}"


if __name__ == "__main__":
    run_stage(latency)
