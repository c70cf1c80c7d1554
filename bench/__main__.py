"""`make bench`: run the race, write its results, table and picture."""

import gzip
import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import ceiling, finetuning, loadgen, reruns, workloads
from bench.compiler import NoCompiler
from bench.environment import differences, environment
from bench.isa import Isa
from bench.options import SCRATCH, Settings, settings
from bench.picture import draw
from bench.progress import Progress, progress_of
from bench.race import race
from bench.report import markdown, summary
from bench.results import Measured, results
from bench.workloads import BERT, MINILM, Workload
from stages.latency import OtherLoad, one_timing_at_a_time
from stages.plumbing.command import UserError, one_line
from stages.plumbing.files import new_file, write_json, write_text
from stages.plumbing.json_file import read_json
from stages.plumbing.signals import signals_end_it

# Who is run under LoadGen: ours, and one peer, to see that neither is favoured.
UNDER_LOADGEN = ("int8_fast", "onnxruntime_int8")


def main(chosen: Settings) -> None:
    began, started, load = time.monotonic(), datetime.now(), OtherLoad()
    here = environment()
    say_what_differs(chosen.folder, here)
    print(f"instruction set: {chosen.isa.name}, {chosen.isa.described}", flush=True)
    rows = workloads.rows(chosen.pairs)
    measured = Measured(isa=chosen.isa, environment=here, task=rows.task.name)
    measured.ceilings = ceilings(chosen.isa)
    base = SCRATCH / chosen.isa.name
    unfinished: list[Progress] = []
    racing = chosen.models if "race" in chosen.parts else []
    # All of them before the first is timed: one that is not there is found at once.
    checkpoints = {model: checkpoint_of(model, rows, chosen, base) for model in racing}
    for model, checkpoint in checkpoints.items():
        folder = base / model
        workload = workloads.make_workload(checkpoint, rows, chosen.batch_size, chosen.lengths)
        measured.workloads[model] = workload
        measured.operations[model] = workloads.operations_per_token(checkpoint)
        how = (chosen.threads, chosen.rounds, chosen.length_calls)
        settings = [model, chosen.runners, *how, chosen.starts, str(chosen.isa)]
        unfinished.append(progress_of(folder, checkpoint, workload.batches, settings))
        measured.races[model] = race(
            model,
            checkpoint,
            chosen.runners,
            workload,
            *how,
            chosen.isa,
            folder,
            unfinished[-1],
            chosen.starts,
        )
    if "kernels" in chosen.parts:
        measured.kernels = run_kernels(chosen)
    if "loadgen" in chosen.parts and MINILM in measured.races:
        measured.loadgen = run_loadgen(chosen, measured.workloads[MINILM], base / MINILM)
    if "finetune" in chosen.parts:
        measured.finetuning = finetuning.measure(
            chosen.finetune_rounds, chosen.finetune_model, chosen.finetune_rows, chosen.isa
        )
    measured.minutes = (time.monotonic() - began) / 60
    load.sample()
    write(measured, chosen)
    if chosen.again:
        reruns.add(results(measured), started.isoformat(timespec="minutes"), load.highest_pct)
    for progress in unfinished:
        progress.drop()


def checkpoint_of(model: str, rows: workloads.Rows, chosen: Settings, base: Path) -> Path:
    folder = base / model / "checkpoint"
    if model == BERT:
        return workloads.random_model(rows, folder)
    return workloads.fine_tuned_model(rows, chosen.checkpoint, folder)


def say_what_differs(folder: Path, here: dict[str, Any]) -> None:
    """Where this is not the machine whose results lie there."""
    file = folder / "results.json"
    if file.exists():
        for line in differences(read_json(file)["environment"], here):
            print(f"DIFFERS: {line}", flush=True)


def ceilings(isa: Isa) -> dict[str, float]:
    try:
        gops = ceiling.measure(isa)
    except NoCompiler as error:
        print(f"ceilings: left out, {error}", flush=True)
        return {}
    print("ceilings of one core, GOP/s:", json.dumps(gops), flush=True)
    return gops


def run_kernels(chosen: Settings) -> dict[str, Any]:
    weights = "full_range" if chosen.isa.vnni else "reduce_range"
    turns = str(chosen.kernel_turns)
    done = subprocess.run(
        [sys.executable, "-m", "bench.kernels", weights, turns, chosen.kernel_shapes],
        env=os.environ | chosen.isa.environment | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise UserError(f"the kernels' process ended with code {done.returncode}; see above")
    measured: dict[str, Any] = json.loads(done.stdout)
    for name, why in measured["left_out"].items():
        print(f"  kernels, {name}: left out, {why}", flush=True)
    return measured


def run_loadgen(chosen: Settings, workload: Workload, folder: Path) -> dict[str, Any]:
    """Single texts are rows of the sorted batches without their padding."""
    if not loadgen.available():
        print("LoadGen: left out, mlcommons-loadgen not installed", flush=True)
        return {}
    checked = {}
    sorted_ = {name: workload.batches[name] for name in workload.names("sorted")}
    singles = {}
    for name, batch in sorted_.items():
        for i, length in enumerate(batch["attention_mask"].sum(axis=1)):
            one = {key: value[i : i + 1, :length] for key, value in batch.items()}
            singles[f"single-{name}-{i}"] = one
    for name in UNDER_LOADGEN:
        if (folder / name / "prepared.json").exists():
            print(f"LoadGen: {name}", flush=True)
            checked[name] = loadgen.check(name, folder / name, singles, sorted_, chosen.isa)
        else:
            print(f"  LoadGen, {name}: left out, it was not in the race", flush=True)
    return checked


def write(measured: Measured, chosen: Settings) -> None:
    summed_up = results(measured)
    samples = measured.samples().to_csv(index=False, float_format="%.4f")
    with new_file(chosen.folder / "samples.csv.gz") as partial:
        partial.write_bytes(gzip.compress(samples.encode(), mtime=0))  # the same on every run
    write_json(chosen.folder / "results.json", summed_up)
    write_text(chosen.folder / "results.md", markdown(summed_up))
    draw(summed_up, chosen.folder / "race.svg")
    print(summary(summed_up))
    print(f"written to {chosen.folder}/ after {measured.minutes:.1f} minutes")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with one_line("bench"), signals_end_it(), one_timing_at_a_time():
        main(settings())
