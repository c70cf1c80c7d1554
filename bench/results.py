"""What was measured, as one JSON: environment, targets, every row, the raw medians."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from bench import peers
from bench.arithmetic import (
    best_peer,
    differing,
    geomean,
    gops,
    lead_interval,
    least,
    pass_seconds,
    ratio,
    single_ms,
)
from bench.ceiling import int8_ceiling
from bench.isa import Isa
from bench.ours import PACKED
from bench.progress import Outcome
from bench.targets import judge
from bench.workloads import BERT, LENGTHS, MINILM, MRPC, Operations, Workload
from stages.variants import REFERENCE

OURS = "int8_fast"
# The worse of the two models counts.
COSTS = {"first_answer_vs_best_peer_x": "first_answer_s", "peak_memory_vs_best_peer_x": "peak_mb"}
LEADS: tuple[tuple[str, str, int | None], ...] = (  # name, model, tokens of a single text
    ("mrpc_vs_best_peer_x", BERT, None),
    ("minilm_vs_best_peer_x", MINILM, None),
    ("batch1_len128_vs_best_peer_x", BERT, 128),
    ("batch1_len384_vs_best_peer_x", BERT, 384),
    ("minilm_len16_vs_best_peer_x", MINILM, 16),
)
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
        "targets": judge(values, finetune.get("f1_lost", 0.0), lead_intervals(samples, rows)),
        "date": date.today().isoformat(),
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
        row["first_answer_s"] = outcome.first_answers.get(name)
        row["first_token_only"] = peers.first_token_only(name)
        row["leaves_padding_out"] = peers.leaves_padding_out(name)
        row["seconds"], row["gops"] = {}, {}
        kind = "tutorial" if name in peers.TUTORIAL else "sorted"
        tokens = sum(workload.tokens[batch] for batch in workload.names(kind))
        texts = sum(len(workload.positions[batch]) for batch in workload.names(kind))
        for threads in counts:
            seconds = pass_seconds(samples, model, threads, name, workload)
            if seconds is not None:
                row["seconds"][str(threads)] = seconds
                first = peers.first_token_only(name)
                done = gops(measured.operations[model], first, tokens, texts, seconds)
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
    """By the names in targets.py; what was not measured is None or absent."""
    values: dict[str, float | None] = {}
    of_model = {model: [row for row in rows if row["model"] == model] for model in measured.races}
    raced_on_mrpc = {model: of for model, of in of_model.items() if measured.task == MRPC}
    ours = {row["model"]: row for row in rows if row["runner"] == OURS}
    if BERT in ours:
        values["bert_base_mb"] = ours[BERT]["size_mb"]
    if BERT in raced_on_mrpc:
        seconds = figures(of_model[BERT], "seconds", "1")
        two = figures(of_model[BERT], "seconds", "2")
        fastest = seconds.get(our_best(seconds) or "")
        values["mrpc_vs_tutorial_fp32_x"] = ratio(seconds.get("tutorial_fp32"), fastest)
        lead = lead_of_ours(seconds)
        values["native_vnni_vs_best_peer_x"] = lead if measured.isa.vnni else None
        # The target speaks of two threads; on a machine with more this is not measured.
        values["threads2_vs_1_x"] = ratio(seconds.get(OURS), two.get(OURS))
    if MINILM in raced_on_mrpc and MINILM in ours:
        values["minilm_differing_answers"] = ours[MINILM]["differing_answers"]
    for name, model, length in LEADS:
        if length:
            values[name] = lead_of_ours(figures(of_model.get(model, []), "single_ms", str(length)))
        else:
            values[name] = lead_of_ours(figures(raced_on_mrpc.get(model, []), "seconds", "1"))
    for name, key in COSTS.items():
        leads = [lead_of_ours(figures(of, key)) for of in of_model.values()]
        values[name] = min((lead for lead in leads if lead is not None), default=None)
    shares = [of["share_of_ceiling_pct"] for of in of_model.get(BERT, []) if of["runner"] in PACKED]
    values["share_of_ceiling_pct"] = max(filter(None, shares), default=None)
    for name, theirs in KERNELS.items():
        values[f"kernel_vs_{name}_x"] = kernels.get(f"ours_16_vs_{theirs}_x")
    if measured.task == MRPC:
        values["finetune_vs_plain_x"] = finetune.get("plain_vs_ours_x")
    return values


def figures(rows: list[dict[str, Any]], key: str, at: str = "") -> dict[str, float | None]:
    """By runner; `at` is a thread count or a length, where there are several."""
    return {row["runner"]: row[key].get(at) if at else row[key] for row in rows}


def our_best(by_runner: dict[str, float | None]) -> str | None:
    """The better of those that run as they ship, which targets speak of."""
    return least({name: by_runner.get(name) for name in PACKED})


def lead_of_ours(by_runner: dict[str, float | None]) -> float | None:
    """What the best peer takes over what the better of ours takes: time, or memory."""
    theirs, ours = best_peer(by_runner), our_best(by_runner)
    return ratio(by_runner.get(theirs or ""), by_runner.get(ours or ""))


def lead_intervals(
    samples: pd.DataFrame, rows: list[dict[str, Any]]
) -> dict[str, tuple[float, float]]:
    """Of the targets that compare speed with the best peer's."""
    found = {}
    for name, model, length in LEADS:
        of = [row for row in rows if row["model"] == model]
        by_runner = figures(of, "single_ms", str(length)) if length else figures(of, "seconds", "1")
        theirs, ours = best_peer(by_runner), our_best(by_runner)
        if theirs and ours:
            found[name] = lead_interval(samples, model, theirs, ours, length)
    return found
