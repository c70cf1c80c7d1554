"""Time all variants of a task interleaved in one run, so that their ratio is honest.

Each variant runs in fresh processes of its own; blocks of calls go round robin over the variants
(A B A B ...), so that a change of the machine's speed hits all of them. Real validation texts;
tokenization is timed apart.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout
from tqdm import tqdm

from stages import variants
from stages.dataset import stored
from stages.dataset.task import read_task
from stages.dataset.verified import verify_splits
from stages.measure.timing import group_name, percentile, summarize
from stages.model.artifact import read_manifest, verify
from stages.model.tokens import Batch, Tokens, encode, load_tokenizer, pad
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.cpu_share import all_threads, processors
from stages.plumbing.faults import remade
from stages.plumbing.files import new_file, new_folder, sha256, write_json
from stages.plumbing.json_file import read_json
from stages.plumbing.manifest import MANIFEST
from stages.running.timed_process import TimedProcess, save_batches
from stages.settings.arguments import params_for
from stages.settings.params import Latency
from stages.workspace.machine import describe

BLOCK = 8  # calls before the next variant's turn
# Other processes' share of the machine above which the timings are marked `contended`.
BUSY_PCT = 15.0
SEED = 0
MOST_ROWS = 50_000  # of validation that the queries are drawn from
LEAST_MOST_THREADS = 64  # also on a smaller machine: it is slow, but no harm
BYTES_OF_TOKEN = 3 * 8  # id, type and mask, each an int64
# Of environment.json, what the figures cannot be read without.
OF_MACHINE = ("cores", "instruction_set")


def latency(task: str) -> None:
    """Write metrics/<task>/latency/<variant>.json and all samples to reports/<task>/latency.csv."""
    params = params_for(task)
    seed = params.finetune.seeds[0]
    # Without those that were skipped here, of which there is nothing to time.
    names = [name for name in params.quantize if paths.metric(task, "size", name).exists()]
    artifacts = {name: paths.artifact(task, seed, name) for name in names}
    if not names:
        raise UserError(f"{paths.METRICS / task / 'size'} is missing; {remade('size_report')}")
    check_belongs_here(task, artifacts)
    check_possible(params.latency, read_manifest(artifacts[names[0]]).recipe.max_length)
    verify_splits(task, "validation")
    with one_timing_at_a_time(), tempfile.TemporaryDirectory() as temporary:
        queries, tokenize_ms = make_queries(task, params.latency, artifacts[names[0]])
        file = Path(temporary) / "batches.safetensors"
        save_batches(queries, file)
        samples: list[dict] = []
        peaks = dict.fromkeys(names, 0.0)
        load = OtherLoad()
        for number in range(params.latency.rounds):
            for threads in params.latency.threads:
                samples += one_round(artifacts, params.latency, threads, file, number, peaks)
                load.sample()
    machine = {
        "tokenize_ms": tokenize_ms,
        "other_load_pct": load.highest_pct,
        "contended": int(load.highest_pct > BUSY_PCT),
    } | {key: value for key, value in read_json(paths.ENVIRONMENT).items() if key in OF_MACHINE}
    write(task, names, params.latency, pd.DataFrame(samples), peaks, machine)


def check_possible(settings: Latency, max_length: int, memory: int = 0) -> None:
    """Refuse what this machine can only fail at, before a process is started.

    Args:
        memory: bytes of this machine; 0: what it has.

    Raises:
        UserError: too many threads, or more texts than the memory holds.
    """
    most = max(LEAST_MOST_THREADS, processors())
    for threads in settings.threads:
        if threads != "all" and int(threads) > most:
            raise UserError(
                f"latency.threads has {threads}, and this machine has {processors()} processors; "
                f"name at most {most}, or 'all'"
            )
    if settings.rounds > settings.queries:
        raise UserError(
            f"latency.rounds is {settings.rounds}, but a round needs a query and latency.queries "
            f"is {settings.queries}; 3 rounds are usual"
        )
    memory = memory or psutil.virtual_memory().total
    texts = settings.queries * sum(settings.batch_sizes)
    needed = texts * max_length * BYTES_OF_TOKEN
    if needed > memory / 2:  # the variants need some, too
        raise UserError(
            f"latency.queries: {settings.queries} with latency.batch_sizes: "
            f"{settings.batch_sizes} may need {needed / 1e9:.1f} GB for their texts, and this "
            f"machine has {memory / 1e9:.1f} GB; take fewer"
        )


def check_belongs_here(task: str, artifacts: dict[str, Path]) -> None:
    """A timing is stamped with environment.json and stands beside size/: both must be true of it.

    Raises:
        UserError: the file in git is from another machine, or an artifact is damaged or not the
            one sized.
    """
    if describe() != read_json(paths.ENVIRONMENT):
        raise UserError(
            f"{paths.ENVIRONMENT} describes another machine or other libraries than this; run "
            "'dvc repro', which renews it first"
        )
    for name, artifact in artifacts.items():
        verify(artifact)
        expected = read_json(paths.metric(task, "size", name))["artifact_sha256"]
        if sha256(artifact / MANIFEST) != expected:
            raise UserError(f"{artifact} is not the artifact that size_report saw; run 'dvc repro'")


@contextmanager
def one_timing_at_a_time() -> Iterator[None]:
    """Machine-wide, because `dvc queue start -j 2` runs whole pipelines side by side."""
    lock = FileLock(lock_file(), mode=0o666)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"latency: another timing run holds {lock_file()}; waiting for it to end", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def lock_file() -> Path:
    return Path(tempfile.gettempdir()) / "bertquant-latency.lock"


class OtherLoad:
    """What all other processes took of the machine between two samples, at most."""

    def __init__(self) -> None:
        self.highest_pct = 0.0
        self.last = self.now()

    def now(self) -> tuple[float, float, float]:
        """Seconds of wall time, busy processors, and this process with its finished children."""
        machine, own = psutil.cpu_times(), os.times()
        busy = sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)
        ours = own.user + own.system + own.children_user + own.children_system
        return time.monotonic(), busy, ours

    def sample(self) -> None:
        """Call when no child runs, so that the children's time is counted in full."""
        now = self.now()
        wall, busy, ours = (after - before for after, before in zip(now, self.last, strict=True))
        share = 100 * (busy - ours) / (wall * (psutil.cpu_count() or 1))
        self.highest_pct, self.last = max(self.highest_pct, share), now


def make_queries(task: str, settings: Latency, artifact: Path) -> tuple[dict[str, Batch], float]:
    """Batches named `<batch size>-<number>`, the same for every variant, and ms to tokenize one."""
    recipe = read_manifest(artifact).recipe
    tokenizer, definition = load_tokenizer(artifact), read_task(task)
    rows = stored.first_rows(paths.split(task, "validation"), MOST_ROWS)
    times = []
    tokens: list[Tokens] = []
    for row in (rows.iloc[i : i + 1] for i in range(len(rows))):
        start = time.perf_counter()
        tokens += encode(tokenizer, definition, row, recipe)
        times.append(1000 * (time.perf_counter() - start))
    random = np.random.default_rng(SEED)
    queries = {}
    for size in settings.batch_sizes:
        for number in range(settings.queries):
            chosen = [tokens[i] for i in random.integers(len(tokens), size=size)]
            queries[f"{size}-{number}"] = pad(
                tokenizer, chosen, settings.padding, recipe.max_length
            )
    return queries, percentile(np.array(times), 0.5)


def one_round(
    artifacts: dict[str, Path],
    settings: Latency,
    threads: int | str,
    batches: Path,
    number: int,
    peaks: dict[str, float],
) -> list[dict]:
    """This round's share of the queries, in fresh processes of all variants, block by block.

    `peaks` learns how much memory each variant takes at most, in MB.
    """
    count = all_threads() if threads == "all" else int(threads)
    samples = []
    with ExitStack() as stack:
        processes = {}
        for name, artifact in artifacts.items():
            process = TimedProcess(name, artifact, count, batches)
            processes[name] = stack.enter_context(process)
        for process in processes.values():
            process.wait_until_loaded()
        for size in settings.batch_sizes:
            names = [f"{size}-{i}" for i in range(number, settings.queries, settings.rounds)]
            for process in processes.values():
                process.milliseconds(names[: settings.warmup])
            blocks = [names[start : start + BLOCK] for start in range(0, len(names), BLOCK)]
            title = f"round {number + 1}/{settings.rounds}, threads {threads}, batch {size}"
            for block in tqdm(blocks, title):
                for name, process in processes.items():
                    for ms in process.milliseconds(block):
                        facts = {"variant": name, "batch_size": size, "threads": str(threads)}
                        samples.append(facts | {"round": number, "ms": ms})
        for name, process in processes.items():
            peaks[name] = max(peaks[name], process.peak_memory_mb())
    return samples


def write(
    task: str,
    names: list[str],
    settings: Latency,
    samples: pd.DataFrame,
    peaks: dict[str, float],
    machine: dict,
) -> None:
    with new_folder(paths.METRICS / task / "latency") as folder:
        for name in names:
            groups = {
                group_name(size, threads): summarize(rounds(samples, name, size, threads), size)
                for size in settings.batch_sizes
                for threads in settings.threads
            }
            facts = {"peak_memory_mb": peaks[name], "kernel": variants.get(name).kernel()} | machine
            write_json(folder / f"{name}.json", groups | facts)
            for group, result in groups.items():
                print(f"{name} {group}: p50 {result['p50_ms']:.2f} p90 {result['p90_ms']:.2f} ms")
    with new_file(paths.REPORTS / task / "latency.csv") as partial:
        samples.to_csv(partial, index=False, float_format="%.4f")
    if machine["contended"]:
        print(
            f"WARNING: other processes took up to {machine['other_load_pct']:.0f} % of the "
            "machine; marked contended. "
            f"To time again: dvc repro -f -s latency@{task}, then dvc repro"
        )


def rounds(
    samples: pd.DataFrame, variant: str, batch_size: int, threads: int | str
) -> list[np.ndarray]:
    """Milliseconds of each call, one array per fresh process."""
    keys = {"variant": variant, "batch_size": batch_size, "threads": str(threads)}
    chosen = samples[np.logical_and.reduce([samples[key] == keys[key] for key in keys])]
    return [calls["ms"].to_numpy() for _, calls in chosen.groupby("round")]


if __name__ == "__main__":
    run_stage(latency)
