"""Does all that runs `ibert` give the same integers on real texts?

    python -m bench.bits [TASK [SPLIT ...]]

Every text of the scored splits, or of those named, through the NumPy reference and, with the
pipeline's own artifact, each kernel of the runtime (single texts and batches, one thread and two),
plain C99 and ONNX Runtime (padded); the CPU's floating-point flags are read after each. And how far
the variants that the pipeline scored are from fp32, seed by seed. Writes bench/bits.json.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.environment import environment
from stages import variants
from stages.dataset.task import read_task
from stages.engines.ibert.engine import RUNTIME
from stages.engines.ibert.reference import Reference
from stages.engines.ibert.tensors import FORMAT
from stages.engines.onnx.session import session, session_predictor
from stages.engines.runtime import packed_file
from stages.engines.runtime.shipped.classify import CannotRun, Model
from stages.model.artifact import WEIGHTS, read_recipe
from stages.model.tokens import Tokens, encode, load_tokenizer, pad
from stages.plumbing import paths
from stages.plumbing.command import UserError, one_line
from stages.plumbing.files import write_json
from stages.plumbing.signals import signals_end_it
from stages.reporting.markdown_table import pipe_table
from stages.settings.params import load_params
from stages.variants.int8_fast.kernel import dispatch

FILE = Path(__file__).with_name("bits.json")
KERNELS = ("avx2", "vnni", "amx", "c99")
BATCH = 64


def main(task: str = "mrpc", *wanted: str) -> None:
    artifact = paths.artifact(task, load_params().finetune.seeds[0], "ibert")
    if not (artifact / WEIGHTS).exists():
        raise UserError(f"{artifact} does not exist; list 'ibert' under 'quantize', run dvc repro")
    definition, recipe, tokenizer = read_task(task), read_recipe(artifact), load_tokenizer(artifact)
    splits: dict[str, dict[str, object]] = {}
    measured = {"environment": environment(), "task": task, "splits": splits}
    measured["beside_fp32"] = beside_fp32(task)
    differing_in_all = 0
    for split in wanted or definition.scored:
        rows = pd.read_parquet(paths.split(task, split))
        tokens = encode(tokenizer, definition, rows, recipe)
        began = time.monotonic()
        expected = by_reference(artifact / WEIGHTS, tokens)
        print(f"{split}: {len(rows)} texts, NumPy {time.monotonic() - began:.0f} s", flush=True)
        differing = {}
        for name, logits in others(artifact, tokenizer, tokens, recipe.inputs):
            differing[name] = int((logits != expected).sum())
            print(f"  {name}: {differing[name]} of {expected.size} logits differ", flush=True)
        flags = float_flags(artifact / WEIGHTS, tokens)
        splits[split] = {
            "texts": len(rows),
            "logits_differing": differing,
            "float_flags": flags,
        }
        differing_in_all += sum(differing.values())
    write_json(FILE, measured | {"ibert_bits_differing": differing_in_all})
    print(f"{differing_in_all} logits differ in all; written to {FILE}")


def beside_fp32(task: str) -> dict[str, dict[str, Any]]:
    """Of each variant and seed, on validation: answers unlike fp32's and the mean logit's distance.

    From the predictions that stage evaluate wrote.
    """
    params = load_params()
    found: dict[str, dict[str, Any]] = {}
    for seed in params.finetune.seeds:
        fp32 = validation_of(paths.predictions(task, seed, variants.REFERENCE))
        for name in params.quantize:
            if name == variants.REFERENCE:
                continue
            own = validation_of(paths.predictions(task, seed, name))
            logits = [column for column in own.columns if str(column).startswith("logit_")]
            apart = np.abs(own[logits].to_numpy() - fp32[logits].to_numpy())
            found.setdefault(name, {})[str(seed)] = {
                "differing_answers": int((own["predicted"] != fp32["predicted"]).sum()),
                "mean_logit_difference": float(apart.mean()),
                "texts": len(own),
            }
    return found


def validation_of(predictions: Path) -> pd.DataFrame:
    frame = pd.read_csv(predictions, dtype={"id": str})
    return frame[frame["split"] == "validation"].reset_index(drop=True)


def by_reference(weights: Path, tokens: Sequence[Tokens]) -> np.ndarray:
    """By the judge, in two processes: it is slow."""
    halves = tokens[::2], tokens[1::2]
    found = np.empty((len(tokens), packed_file.read(FORMAT, weights)[0].outputs), np.int64)
    with ProcessPoolExecutor(2) as pool:
        for i, half in enumerate(pool.map(judged, [weights] * 2, halves)):
            found[i::2] = half
    return found


def judged(weights: Path, tokens: Sequence[Tokens]) -> np.ndarray:
    judge = Reference(*packed_file.read(FORMAT, weights))
    types = [np.array(text.get("token_type_ids", [0] * len(text["input_ids"]))) for text in tokens]
    return judge([np.array(text["input_ids"]) for text in tokens], types)


def others(
    artifact: Path, tokenizer: Any, tokens: Sequence[Tokens], inputs: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Who answers, and int32 or int64 (texts, outputs)."""
    for kernel in KERNELS:
        try:
            model = Model(RUNTIME.library(), artifact / WEIGHTS, kernel)
        except CannotRun as reason:
            print(f"  {kernel}: left out, {reason}")
            continue
        for size in (1, BATCH):
            for threads in (1, 2):
                if kernel == "c99" and (size == 1) == (threads == 2):
                    continue  # text by text in any case, and slow
                name = f"{kernel}, batch {size}, threads {threads}"
                yield name, run(model, tokens, size, threads)
    with tempfile.TemporaryDirectory() as folder:
        variants.get("ibert").engine.export(artifact, Path(folder))
        predict = session_predictor(session(Path(folder) / "model.onnx"))
        longest = max(len(text["input_ids"]) for text in tokens)
        parts = [
            predict(pad(tokenizer, tokens[i : i + BATCH], "max_length", longest))
            for i in range(0, len(tokens), BATCH)
        ]
    yield f"ONNX Runtime, batch {BATCH}, padded to {longest}", np.concatenate(parts)


def run(model: Model, tokens: Sequence[Tokens], size: int, threads: int) -> np.ndarray:
    parts = []
    for i in range(0, len(tokens), size):
        some = tokens[i : i + size]
        starts = np.cumsum([0, *(len(text["input_ids"]) for text in some)])
        ids = np.concatenate([text["input_ids"] for text in some])
        types = [text["token_type_ids"] for text in some if "token_type_ids" in text]
        flat = np.concatenate(types) if types else None
        parts.append(model.raw(ids, starts, flat, threads))
    return np.concatenate(parts)


def float_flags(
    weights: Path, tokens: Sequence[Tokens], kernels: Sequence[str] = KERNELS
) -> dict[str, dict[str, str]]:
    """What the witness says of each kernel that this CPU can run, with one thread and with two."""
    lines = [
        " ".join(map(str, text["input_ids"]))
        + (" | " + " ".join(map(str, text["token_type_ids"])) if "token_type_ids" in text else "")
        for text in tokens
    ]
    given, flags = "\n".join(lines) + "\n", {}
    with tempfile.TemporaryDirectory() as folder:
        program = str(witness(Path(folder)))
        for kernel in kernels:
            for threads in ("1", "2"):
                command = [program, str(weights), kernel, threads]
                done = subprocess.run(command, input=given, capture_output=True, text=True)
                if "cannot run" in done.stderr:
                    break
                if done.returncode:
                    raise UserError(f"the witness failed: {done.stderr}")
                seen = dict(line.split() for line in done.stdout.splitlines())
                flags[f"{kernel}, threads {threads}"] = seen
    return flags


def witness(folder: Path) -> Path:
    """ibert_witness.cpp, compiled in `folder`: the runtime, and in every thread the CPU's flags."""
    sources = [*RUNTIME.sources, Path(__file__).with_name("ibert_witness.cpp")]
    sources.append(Path(dispatch.__file__).with_name("norm.h"))
    for source in sources:
        shutil.copy(source, folder)
    command = "c++ -O2 -pthread ibert_witness.cpp -o witness"
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the witness does not compile: {done.stderr}")
    return folder / "witness"


def markdown(measured: dict[str, Any]) -> str:
    """For docs/ibert.md: differing logits of each split, flags, and how far from fp32."""
    same = [
        {"split": split, "texts": str(facts["texts"])}
        | {name: str(count) for name, count in by_runner(facts["logits_differing"]).items()}
        | {
            "float flags": ", ".join(
                sorted({one["integer"] for one in facts["float_flags"].values()})
            )
        }
        for split, facts in measured["splits"].items()
    ]
    near = [
        {"variant": name}
        | {
            f"seed {seed}": f"{one['differing_answers']}, {one['mean_logit_difference']:.3f}"
            for seed, one in by_seed.items()
        }
        for name, by_seed in measured["beside_fp32"].items()
    ]
    return "\n\n".join(
        [
            "Logits that are not the NumPy reference's (each kernel with single texts and batches, "
            "one thread and two, added up), and the CPU's float flags behind it:",
            pipe_table(same),
            "Answers on validation unlike fp32's, and the mean distance of the logits:",
            pipe_table(near),
        ]
    )


def by_runner(differing: dict[str, int]) -> dict[str, int]:
    """Added up over batch sizes and threads."""
    found: dict[str, int] = {}
    for name, count in differing.items():
        runner = name.split(",")[0]
        found[runner] = found.get(runner, 0) + count
    return found


if __name__ == "__main__":
    with one_line("bench.bits"), signals_end_it():
        main(*sys.argv[1:])
