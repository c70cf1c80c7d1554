"""What was measured, as one JSON: environment, targets, every row, the raw medians."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from bench import peers
from bench.arithmetic import best_peer, differing, geomean, gops, pass_seconds, ratio, single_ms
from bench.ceiling import int8_ceiling
from bench.isa import Isa
from bench.progress import Outcome
from bench.targets import judge
from bench.workloads import BERT, LENGTHS, MINILM, MRPC, Operations, Workload
from stages.variants import REFERENCE

OURS = "int8_fast"
WAYS = ("plain", "ours")
KERNELS = {"fbgemm": "fbgemm", "onednn": "onednn", "ort": "ort"}


@dataclass
class Measured:
    """All that one run gave. `workloads`, `operations` (per token) and `races` are by model."""

    isa: Isa
    environment: dict[str, Any]
    task: str
    ceilings: dict[str, float] = field(default_factory=dict)
    workloads: dict[str, Workload] = field(default_factory=dict)
    operations: dict[str, Operations] = field(default_factory=dict)
    races: dict[str, Outcome] = field(default_factory=dict)
    kernels: dict[str, Any] = field(default_factory=dict)
    loadgen: dict[str, Any] = field(default_factory=dict)
    finetuning: list[dict[str, Any]] = field(default_factory=list)
    minutes: float = 0.0

    def samples(self) -> pd.DataFrame:
        """Every timed call of the races and of the kernels."""
        rows = [sample for outcome in self.races.values() for sample in outcome.samples]
        for sample in self.kernels.get("samples", []):
            shape = f"{sample['n']}x{sample['k']}, {sample['m']} rows"
            facts = {"model": "kernels", "threads": 1, "runner": sample["contender"]}
            rows.append(facts | {"kind": "linear", "batch": shape, "round": 0, "ms": sample["ms"]})
        columns = ["model", "threads", "runner", "kind", "batch", "round", "ms"]
        return pd.DataFrame(rows, columns=columns)


def results(measured: Measured) -> dict[str, Any]:
    samples = measured.samples()
    rows = [row for model in measured.races for row in model_rows(measured, samples, model)]
    kernels = kernel_figures(measured.kernels)
    finetune = finetune_figures(measured.finetuning)
    values = target_values(rows, kernels, finetune, measured)
    return {
        "targets": judge(values, finetune.get("f1_lost", 0.0)),
        "isa": measured.isa.name,
        "simulated": measured.isa.simulated,
        "instruction_set": measured.isa.described,
        "task": measured.task,
        "minutes": round(measured.minutes, 1),
        "sittings": max((one.sittings for one in measured.races.values()), default=1),
        "environment": measured.environment,
        "ceilings_gops_of_one_core": measured.ceilings,
        "runners": rows,
        "peers": peer_notes(measured),
        "left_out": {model: outcome.left_out for model, outcome in measured.races.items()},
        "kernels": kernels,
        "loadgen": measured.loadgen,
        "finetuning": finetune,
    }


def peer_notes(measured: Measured) -> dict[str, dict[str, str]]:
    """Of everybody else's library that was raced."""
    raced = {name for outcome in measured.races.values() for name in outcome.runners}
    return {name: peers.notes(name) for name in peers.names() if name in raced}


def model_rows(measured: Measured, samples: pd.DataFrame, model: str) -> list[dict[str, Any]]:
    """One per runner: seconds and shares by thread count, single texts, and what it takes up."""
    outcome, workload = measured.races[model], measured.workloads[model]
    counts = sorted({sample["threads"] for sample in outcome.samples})
    rows: list[dict[str, Any]] = []
    for name, facts in outcome.runners.items():
        row: dict[str, Any] = {"model": model, "runner": name} | facts
        row["seconds"], row["gops"] = {}, {}
        kind = "tutorial" if name in peers.TUTORIAL else "sorted"
        tokens = sum(workload.tokens[batch] for batch in workload.names(kind))
        texts = sum(len(workload.positions[batch]) for batch in workload.names(kind))
        for threads in counts:
            seconds = pass_seconds(samples, model, threads, name, workload)
            if seconds is not None:
                row["seconds"][str(threads)] = seconds
                done = gops(measured.operations[model], name, tokens, texts, seconds)
                row["gops"][str(threads)] = done
        row["share_of_ceiling_pct"] = share(row["gops"].get("1"), row["bits"], measured.ceilings)
        row["share_of_wall_pct"] = of_wall(row["gops"].get("1"), row["bits"], measured.ceilings)
        row["single_ms"] = {}
        for length in LENGTHS:
            one = single_ms(samples, model, name, length)
            if one is not None:
                row["single_ms"][str(length)] = one
        reference = outcome.answers.get(REFERENCE)
        row["differing_answers"] = None  # of random weights they mean nothing
        if reference is not None and model != BERT and name not in peers.TUTORIAL:
            row["differing_answers"] = differing(outcome.answers[name], reference)
        rows.append(row)
    return rows


def share(gops_of_one_core: float | None, bits: int, ceilings: dict[str, float]) -> float | None:
    """Percent of what one core can do at most, in fp32 or in int8."""
    if gops_of_one_core is None or not ceilings:
        return None
    return 100 * gops_of_one_core / (ceilings["fp32"] if bits == 32 else int8_ceiling(ceilings))


def of_wall(gops_of_one_core: float | None, bits: int, ceilings: dict[str, float]) -> float | None:
    """Percent of int8 that widens every product at once: what libraries do without VNNI."""
    if gops_of_one_core is None or not ceilings or bits == 32:
        return None
    return 100 * gops_of_one_core / ceilings["int8_widened_at_once"]


def by_runner(rows: list[dict[str, Any]], model: str, key: str, at: str) -> dict[str, float | None]:
    return {row["runner"]: row[key].get(at) for row in rows if row["model"] == model}


def kernel_figures(kernels: dict[str, Any]) -> dict[str, Any]:
    """Median milliseconds of each contender at each shape, and our geometric means."""
    if not kernels:
        return {}
    table = pd.DataFrame(kernels["samples"])
    medians = table.groupby(["n", "k", "m", "contender"], sort=False)["ms"].median().unstack()
    figures: dict[str, Any] = {"left_out": kernels["left_out"], "hidden_by": kernels["hidden_by"]}
    times = medians.add_suffix("_ms").reset_index()
    figures["shapes"] = times.to_dict("records")
    for ours in [name for name in medians if str(name).startswith("ours")]:
        for theirs in [name for name in medians if not str(name).startswith("ours")]:
            figures[f"{ours}_vs_{theirs}_x"] = geomean(medians[theirs] / medians[ours])
    return figures


def finetune_figures(trainings: list[dict[str, Any]]) -> dict[str, Any]:
    if not trainings:
        return {}
    by_way = {way: [one for one in trainings if one["way"] == way] for way in WAYS}
    seconds = {way: float(np.median([one["seconds"] for one in by_way[way]])) for way in WAYS}
    f1 = {way: float(np.mean([one["f1"] for one in by_way[way]])) for way in WAYS}
    return {
        "seconds": seconds,
        "f1": f1,
        "f1_lost": f1["plain"] - f1["ours"],
        "plain_vs_ours_x": seconds["plain"] / seconds["ours"],
        "runs": trainings,
    }


def target_values(
    rows: list[dict[str, Any]],
    kernels: dict[str, Any],
    finetune: dict[str, Any],
    measured: Measured,
) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    ours = {row["model"]: row for row in rows if row["runner"] == OURS}
    if BERT in ours:
        values["bert_base_mb"] = ours[BERT]["size_mb"]
    if BERT in ours and measured.task == MRPC:
        seconds = by_runner(rows, BERT, "seconds", "1")
        best = best_peer(seconds)
        values["mrpc_vs_tutorial_fp32_x"] = ratio(seconds.get("tutorial_fp32"), seconds[OURS])
        values["mrpc_vs_best_peer_x"] = ratio(seconds.get(best or ""), seconds[OURS])
        # The target speaks of two threads; on a machine with more this is not measured.
        two = ours[BERT]["seconds"].get("2")
        values["threads2_vs_1_x"] = ratio(seconds[OURS], two)
    if BERT in ours:
        single = by_runner(rows, BERT, "single_ms", "128")
        best = best_peer(single)
        values["batch1_len128_vs_best_peer_x"] = ratio(single.get(best or ""), single[OURS])
    for name, theirs in KERNELS.items():
        values[f"kernel_vs_{name}_x"] = kernels.get(f"ours_16_vs_{theirs}_x")
    if MINILM in ours and measured.task == MRPC:
        values["minilm_differing_answers"] = ours[MINILM]["differing_answers"]
    if measured.task == MRPC:
        values["finetune_vs_plain_x"] = finetune.get("plain_vs_ours_x")
    return values
