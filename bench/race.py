"""All runners of one model, interleaved: round robin over living processes, block by block."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from bench import first_answer, peers
from bench.isa import Isa
from bench.prepare import Prepared, prepare
from bench.progress import Outcome, Progress
from bench.runner import CutOff, Runner
from bench.workloads import Workload
from stages.measure.accuracy import relative_distance
from stages.running.timed_process import save_batches
from stages.variants import REFERENCE

# All batches of the tutorial have one shape: timing every third of them is enough.
TUTORIAL_EVERY = 3
FAR = 0.5  # relative distance: what is farther from fp32 is left out


def race(
    model: str,
    checkpoint: Path,
    names: list[str],
    workload: Workload,
    thread_counts: list[int],
    rounds: int,
    length_calls: int,
    isa: Isa,
    folder: Path,
    progress: Progress | None = None,
    starts: int = 0,
) -> Outcome:
    """Time `names` on `workload`, every batch once per pass.

    A round is every `rounds`-th batch, so that all rounds together are one pass over the rows, and
    each round has long and short texts. Single texts of fixed length are timed with the first
    thread count only, `length_calls` times per round; before all that, `starts` fresh processes of
    each runner answer the shortest of them. Rounds that `progress` knows to be finished
    are not run again.
    """
    outcome = progress.read() if progress else Outcome()
    wanted = [[threads, number] for threads in thread_counts for number in range(rounds)]
    if progress and outcome.finished:
        done, of = len(outcome.finished), len(wanted)
        print(f"{model}: {done} of {of} rounds are kept from before, {progress.file}", flush=True)
    if outcome.finished == wanted:
        return outcome
    ready = []
    for name in dict.fromkeys(names):
        if name in outcome.left_out:
            continue
        if name not in peers.known():
            outcome.leave_out(name, f"there is no variant stages/variants/{name} in this checkout")
            continue
        print(f"{model}: preparing {name}", flush=True)
        one = prepare(name, checkpoint, folder / name, isa)
        if one.skipped:
            outcome.leave_out(name, one.skipped)
        else:
            ready.append(one)
    ready.sort(key=lambda one: one.name != REFERENCE)  # whose logits the others' are compared with
    if starts and not outcome.first_answers:
        print(f"{model}: first answers of fresh processes", flush=True)
        started = [one for one in ready if one.name not in peers.TUTORIAL]
        text = workload.batches[workload.names("length")[0]]
        outcome.first_answers = first_answer.measure(started, text, starts, isa)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "batches.safetensors"
        save_batches(workload.batches, file)
        for threads in thread_counts:
            first = threads == thread_counts[0]
            calls = length_calls if first else 0
            numbers = [n for n in range(rounds) if [threads, n] not in outcome.finished]
            if numbers:
                one_thread_count(
                    outcome,
                    progress,
                    model,
                    ready,
                    workload,
                    threads,
                    rounds,
                    numbers,
                    calls,
                    isa,
                    file,
                    first,
                )
            # Whoever was cut off once is not asked again.
            ready = [one for one in ready if one.name in outcome.runners]
    return outcome


def one_thread_count(
    outcome: Outcome,
    progress: Progress | None,
    model: str,
    ready: list[Prepared],
    workload: Workload,
    threads: int,
    rounds: int,
    numbers: list[int],
    length_calls: int,
    isa: Isa,
    batches: Path,
    first: bool,
) -> None:
    with ExitStack() as stack:
        running: dict[str, Runner] = {}
        reference: np.ndarray | None = None
        started: dict[str, Runner] = {}

        def start(one: Prepared) -> Runner:
            if one.name not in started:
                started[one.name] = Runner(one, threads, batches, isa)
                stack.callback(started[one.name].close)
            return started[one.name]

        # Alone, where the loading is timed; later all at once, which is over sooner.
        for one in ready if not first else []:
            start(one)
        for one in ready:
            runner, batch_names = start(one), feed(one.name, workload)
            try:
                facts = runner.wait()
                facts |= {"size_mb": one.size_mb, "bits": peers.get(one.name).BITS}
                runner.probe(batch_names[-1], len(batch_names))
            except CutOff as reason:
                runner.close()
                outcome.cut(one.name, threads, str(reason))
                continue
            logits = runner.logits(workload.names("sorted")[-1])
            if one.name == REFERENCE:
                reference = logits
            elif reference is None or one.name in peers.SIMULATIONS:
                pass  # nothing to compare with; or known to be far from fp32, and slow
            elif not alike(logits, reference):
                runner.close()
                why = "its answers are nothing like fp32's: it does not work"
                outcome.cut(one.name, threads, why)
                continue
            running[one.name] = runner
            outcome.runners.setdefault(one.name, facts)
        for number in numbers:
            print(f"{model}: threads {threads}, round {number + 1}/{rounds}", flush=True)
            for name, runner in running.items():
                batch_names = feed(name, workload)[number::rounds]
                if name in peers.TUTORIAL:
                    batch_names = batch_names[::TUTORIAL_EVERY]
                time_block(outcome, model, runner, workload, batch_names, number)
            for length in workload.names("length") if length_calls else []:
                for name, runner in running.items():
                    if name not in peers.TUTORIAL:
                        time_block(
                            outcome, model, runner, workload, [length] * length_calls, number
                        )
            for name, runner in running.items() if first else ():
                known = outcome.runners[name].get("peak_mb", 0.0)
                outcome.runners[name]["peak_mb"] = max(known, runner.peak_mb())
            outcome.finished.append([threads, number])
            if progress:
                progress.keep(outcome)


def alike(logits: np.ndarray, reference: np.ndarray) -> bool:
    """Whether this can be the same model, quantized however coarsely.

    A library that fails silently is fast: one that computed nothing took a hundredth of the time.
    """
    return relative_distance(logits, reference) <= FAR


def feed(name: str, workload: Workload) -> list[str]:
    return workload.names("tutorial" if name in peers.TUTORIAL else "sorted")


def time_block(
    outcome: Outcome,
    model: str,
    runner: Runner,
    workload: Workload,
    names: list[str],
    number: int,
) -> None:
    for batch, (ms, answers) in zip(names, runner.time(names), strict=True):
        facts = {"model": model, "threads": runner.threads, "runner": runner.name}
        facts |= {"kind": batch.partition("-")[0], "batch": batch, "round": number}
        outcome.samples.append(facts | {"ms": ms})
        rows = workload.positions.get(batch, [])
        answered = outcome.answers.setdefault(runner.name, {})
        for row, answer in zip(rows, answers, strict=False):
            answered.setdefault(row, answer)
