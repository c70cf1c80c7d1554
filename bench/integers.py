"""What `ibert` promises, measured: `python -m bench.integers` writes bench/integers.json.

Its speed beside fp32, int8_fast and the paper's own formats as transformers simulates them, with
each of our kernels; how soon a fresh process answers; how much memory it takes beside its weights.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import workloads
from bench.environment import environment
from bench.isa import NATIVE, Isa
from bench.options import SCRATCH
from bench.ours import IN_TORCH
from bench.progress import Outcome
from bench.race import race
from bench.workloads import BERT, MINILM, PAIRS, Rows, Workload
from stages import variants
from stages.latency import one_timing_at_a_time
from stages.model import cpu
from stages.model.artifact import read_manifest, read_recipe
from stages.model.tokens import encode, load_tokenizer
from stages.plumbing.command import one_line
from stages.plumbing.files import new_folder, write_json
from stages.plumbing.signals import signals_end_it
from stages.reporting.markdown_table import pipe_table
from stages.running.exported_folder import write_export_manifest, write_predict, write_tokenizer
from stages.tasks import mrpc

FILE = Path(__file__).with_name("integers.json")
BLOCK = (8, 128)  # texts and tokens of the batch that the paper's speed-up is compared on
BLOCKS, ROUNDS = 6, 3
SHORT = 16  # tokens
OF_BERT = ["fp32", IN_TORCH, "int8_fast", "ibert", "ibert_paper"]
OF_MINILM = ["fp32", IN_TORCH, "int8_fast", "ibert"]
AT_LEAST = {
    "ibert_vs_fp32_x": 3.6,
    "ibert_vs_int8_fast_x": 1.12,
    "ibert_vs_hf_simulation_x": 8.0,
    "ibert_minilm_len16_vs_int8_fast_x": 2.2,
    "ibert_threads2_vs_1_x": 1.9,
}
AT_MOST = {
    "ibert_first_answer_s": 0.15,
    "ibert_peak_over_weights_mb": 40.0,
    "int8_fast_peak_mb": 450.0,
}
STARTS = 15


@dataclass(frozen=True)
class OneKernel(Isa):
    """All that this CPU has, but one kernel of ours."""

    kernel: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {"INT8_FAST_KERNEL": self.kernel, "IBERT_KERNEL": self.kernel}


def main() -> None:
    rows = workloads.rows(PAIRS)
    base = SCRATCH / "integers"
    bert = workloads.random_model(rows, base / BERT / "checkpoint")
    minilm = workloads.fine_tuned_model(rows, None, base / MINILM / "checkpoint")
    measured: dict[str, Any] = {"environment": environment(), "kernels": {}}
    for kernel in kernels():
        print(f"kernel {kernel}", flush=True)
        isa = OneKernel(NATIVE, False, kernel)
        outcomes = {
            BERT: timed(BERT, bert, rows, OF_BERT, [1, 2], isa, base / BERT),
            MINILM: timed(MINILM, minilm, rows, OF_MINILM, [1], isa, base / MINILM),
        }
        measured["kernels"][kernel] = ratios(outcomes)
        print(json.dumps(measured["kernels"][kernel], indent=2), flush=True)
    measured |= first_answer(base / MINILM / "ibert", base / "shipped")
    measured |= peak(base / BERT / "ibert")
    # Before AMX had a tile, so what int8_fast was, and what the targets speak of.
    plain = measured["kernels"].get("vnni") or measured["kernels"]["avx2"]
    found = plain | {name: measured[name] for name in AT_MOST if name in measured}
    measured["targets"] = judge(found)
    write_json(FILE, measured)
    print(json.dumps(measured["targets"], indent=2))


def kernels() -> list[str]:
    """Of ours, those that this CPU can run."""
    has = {"avx2": cpu.has_avx2(), "vnni": cpu.has_avx512_vnni(), "amx": cpu.has_amx_int8()}
    return [name for name, there in has.items() if there]


def timed(
    model: str,
    checkpoint: Path,
    rows: Rows,
    names: list[str],
    threads: list[int],
    isa: Isa,
    folder: Path,
) -> Outcome:
    blocks = blocks_of(checkpoint, rows)
    return race(model, checkpoint, names, blocks, threads, ROUNDS, ROUNDS, isa, folder)


def blocks_of(checkpoint: Path, rows: Rows) -> Workload:
    """Real texts, one behind the other and cut: batches of BLOCK, unpadded, and one short text."""
    recipe, tokenizer = read_recipe(checkpoint), load_tokenizer(checkpoint)
    encoded = encode(tokenizer, rows.task, rows.validation, recipe)
    first, stream = encoded[0]["input_ids"][0], np.concatenate([x["input_ids"] for x in encoded])
    shapes, batches, used = {f"length-{SHORT}": (1, SHORT)}, {}, 0
    for name, shape in (shapes | {f"sorted-{i}": BLOCK for i in range(BLOCKS)}).items():
        ids = stream[used : used + shape[0] * shape[1]].reshape(shape)
        used += ids.size
        ids[:, 0] = first
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        batches[name] = {key: known.get(key, np.zeros_like(ids)) for key in recipe.inputs}
    return Workload(batches, {}, {name: batch["input_ids"].size for name, batch in batches.items()})


def ratios(outcomes: dict[str, Outcome]) -> dict[str, float | None]:
    ms: dict[tuple[str, str, int, str], list[float]] = defaultdict(list)
    for model, outcome in outcomes.items():
        for sample in outcome.samples:
            key = model, sample["runner"], sample["threads"], sample["kind"]
            ms[key].append(sample["ms"])
    medians = {key: statistics.median(values) for key, values in ms.items()}

    def ratio(slower: tuple[str, str, int, str], faster: tuple[str, str, int, str]) -> float | None:
        if slower not in medians or faster not in medians:
            return None
        return medians[slower] / medians[faster]

    ours = (BERT, "ibert", 1, "sorted")
    found = {
        "ibert_vs_fp32_x": ratio((BERT, "fp32", 1, "sorted"), ours),
        "ibert_vs_int8_fast_x": ratio((BERT, IN_TORCH, 1, "sorted"), ours),
        "ibert_vs_int8_fast_runtime_x": ratio((BERT, "int8_fast", 1, "sorted"), ours),
        "ibert_vs_hf_simulation_x": ratio((BERT, "ibert_paper", 1, "sorted"), ours),
        "ibert_threads2_vs_1_x": ratio(ours, (BERT, "ibert", 2, "sorted")),
        "ibert_minilm_vs_int8_fast_x": ratio(
            (MINILM, IN_TORCH, 1, "sorted"), (MINILM, "ibert", 1, "sorted")
        ),
        "ibert_minilm_len16_vs_int8_fast_x": ratio(
            (MINILM, IN_TORCH, 1, "length"), (MINILM, "ibert", 1, "length")
        ),
        "int8_fast_minilm_len16_vs_in_torch_x": ratio(
            (MINILM, IN_TORCH, 1, "length"), (MINILM, "int8_fast", 1, "length")
        ),
        "ibert_bert_ms": medians.get(ours),
        "ibert_minilm_len16_ms": medians.get((MINILM, "ibert", 1, "length")),
    }
    peaks = outcomes[BERT].runners
    if "int8_fast" in peaks:
        found["int8_fast_peak_mb"] = peaks["int8_fast"]["peak_mb"]
    return found


ANSWER = "from predict import Classifier; Classifier()([('a text of', 'some words')])"


def first_answer(artifact: Path, shipped: Path) -> dict[str, float]:
    """Seconds from a fresh process to its first answer, over one that imports what it needs."""
    with new_folder(shipped) as folder:
        for path in artifact.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        (weights, *_) = variants.get("ibert").engine.export(artifact, folder)
        manifest, task = read_manifest(artifact), mrpc.DATASET.task
        write_tokenizer(load_tokenizer(artifact), manifest.recipe.max_length, folder)
        write_export_manifest(folder, task, manifest, write_predict([weights], folder))
    seconds: dict[str, list[float]] = {"import numpy, tokenizers": [], ANSWER: []}
    for _ in range(STARTS):
        for code, times in seconds.items():
            times.append(wall(code, shipped))
    imports, answers = (statistics.median(times) for times in seconds.values())
    return {"ibert_first_answer_s": answers - imports, "imports_s": imports}


def wall(code: str, folder: Path) -> float:
    """Of a process that runs `code` in `folder`."""
    timing = "import os, sys, time; began = time.monotonic();"
    timing += " os.spawnv(os.P_WAIT, sys.executable, [sys.executable, '-c', sys.argv[1]]);"
    timing += " print(time.monotonic() - began)"
    done = subprocess.run(
        [sys.executable, "-c", timing, code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    return float(done.stdout)


PEAK = """
import sys
from pathlib import Path
import numpy as np
import tokenizers
sys.path.insert(0, sys.argv[1])
from classify import Model

def resident(what):
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status if line.startswith(what))

before = resident("VmHWM")
if sys.argv[2] != "nothing":
    model = Model(Path(sys.argv[3]), Path(sys.argv[2]))
    ids = np.random.default_rng(0).integers(1000, 30000, 8 * 128)
    model.logits(ids, np.arange(9) * 128)
print(resident("VmHWM") - before)
"""


def peak(artifact: Path) -> dict[str, float]:
    """MB of a batch of BLOCK on BERT-base: beside Python, tokenizers and the weights themselves."""
    from stages.engines.ibert.engine import RUNTIME
    from stages.engines.runtime.shipped import classify

    weights = artifact / classify.WEIGHTS
    with tempfile.TemporaryDirectory() as elsewhere:
        command = [sys.executable, "-c", PEAK, str(Path(classify.__file__).parent.resolve())]
        command += [str(weights.resolve()), str(RUNTIME.library())]
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=True)
    size = weights.stat().st_size / 1e6
    return {"ibert_peak_over_weights_mb": float(done.stdout) - size, "ibert_weights_mb": size}


def judge(found: dict[str, Any]) -> list[dict[str, Any]]:
    result = []
    for name, target in (AT_LEAST | AT_MOST).items():
        value = found.get(name)
        met = value is not None and (value <= target if name in AT_MOST else value >= target)
        result.append({"name": name, "target": target, "measured": value, "met": bool(met)})
    return result


def markdown(measured: dict[str, Any]) -> str:
    """The targets, and what each kernel of ours reached, for docs/ibert.md."""
    machine = measured["environment"]
    targets = [
        {
            "target": f"`{one['name']}`",
            "wanted": f"{'at most' if one['name'] in AT_MOST else 'at least'} {one['target']:g}",
            "measured": "-" if one["measured"] is None else f"{one['measured']:.3g}",
            "met": "yes" if one["met"] else "no",
        }
        for one in measured["targets"]
    ]
    kernels: dict[str, dict[str, str]] = {}
    for kernel, values in measured["kernels"].items():
        for name, value in values.items():
            row = kernels.setdefault(name, {"figure": f"`{name}`"})
            row[kernel] = "-" if value is None else f"{value:.3g}"
    about = f"{machine['cpu']}, {machine['cores']} cores, torch {machine['torch']}."
    parts = [pipe_table(targets), "By kernel:", pipe_table(list(kernels.values())), about]
    return "\n\n".join(parts)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with one_line("bench.integers"), signals_end_it(), one_timing_at_a_time():
        main()
