"""The form of the graph that is fastest on this CPU: one part of it after another is put to a race.

It starts as ONNX Runtime's own tools would make it, every layer fused and dynamically quantized.
For each part there is one alternative, and both run turn by turn on batches like the race's own.
An alternative counts only if its answers are as near to fp32 as those of the start.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import ModelProto

from bench.arithmetic import geomean
from bench.onnx_bert import ranges
from bench.onnx_bert.fused import check
from bench.onnx_bert.graph import Checkpoint, Form, read, write
from bench.onnx_bert.session import session
from bench.ours import TASK, TRAIN
from stages.dataset.task import Task
from stages.engines.onnx.session import session_predictor
from stages.model.artifact import Recipe, read_recipe
from stages.model.tokens import Batch, Predict, batches_of, load_tokenizer

START = Form("dynamic")
# Part -> the other way to compute it.
ALTERNATIVES: dict[str, Any] = {
    "normalization": "LayerNormalization",
    "attention": "MultiHeadAttention",
    "embeddings": "GatherBlockQuantized",
    "gelu": "FastGelu",
    "arithmetic": "static",
}
BATCH = 16  # texts, as in the race
ROWS, CALIBRATED_EVERY = 576, 9  # of the training rows; every ninth is for the ranges
TURNS, SECONDS = 5, 6.0  # of one race: at least so many, and on until they took so long
NEAR = 1.1  # times the start's difference from fp32, which varies by some percent with the rows


@dataclass(frozen=True)
class Texts:
    """Attributes:
    calibrated: sorted batches, for the ranges.
    compared: other rows' sorted batches, for the distance from fp32.
    timed: shape -> batch; batches and single texts of ordinary and of great length.
    """

    calibrated: list[Batch]
    compared: list[Batch]
    timed: dict[str, Batch]


@dataclass(frozen=True)
class Contender:
    """Attributes:
    distance: mean absolute difference of its logits from fp32's; None where answers mean nothing.
    """

    form: Form
    model: ModelProto
    predict: Predict
    distance: float | None

    def near(self, start: "Contender") -> bool:
        if self.distance is None or start.distance is None:
            return True
        return self.distance <= NEAR * start.distance


def choose(folder: Path, limit: int) -> tuple[Contender, dict[str, Any]]:
    """The fastest form, and all that was measured for it, which is printed as well.

    Args:
        folder: a checkpoint, with training rows beside it.
        limit: the largest weight, see linear.py.
    """
    recipe, checkpoint = read_recipe(folder), read(folder)
    texts = gather(folder, recipe)
    enter = entering(checkpoint, texts, limit, compare=recipe.weights != "random")
    start = best = enter(START)
    parts = []
    for part, alternative in ALTERNATIVES.items():
        both = best, enter(replace(best.form, **{part: alternative}))
        times = race([one.predict for one in both], texts.timed)
        faster = total(times[1]) < total(times[0])
        best = both[1] if faster and both[1].near(start) else best
        tried = [
            {"operator": getattr(one.form, part), "ms": ms, "distance": one.distance}
            | {"chosen": one is best}
            for one, ms in zip(both, times, strict=True)
        ]
        print(*(line(part, one) for one in tried), sep="\n", flush=True)
        parts.append({"part": part, "candidates": tried})
    print(f"chosen: {best.form}", flush=True)
    rows = sum(len(batch["input_ids"]) for batch in texts.compared)
    return best, {
        "chosen": asdict(best.form),
        "largest_weight": limit,
        "ms": "CPU time of the best of several interleaved calls, one thread; texts x tokens",
        "distance": f"mean absolute difference of logits from fp32's on {rows} training rows; at "
        f"most {NEAR} times the first candidate's",
        "parts": parts,
    }


def entering(
    checkpoint: Checkpoint, texts: Texts, limit: int, compare: bool
) -> Callable[[Form], Contender]:
    """What makes a contender of a form; `compare` says whether distances mean anything."""
    plain = write(checkpoint, Form())
    seen = ranges.find(plain, texts.calibrated)
    compared = texts.compared if compare else []
    fp32 = session_predictor(session(plain, 1))
    reference = [fp32(batch) for batch in compared]
    del plain, fp32  # half a GB each for a BERT-base

    def enter(form: Form) -> Contender:
        model = write(checkpoint, form, limit, seen)
        with TemporaryDirectory() as folder:
            optimized = Path(folder) / "optimized.onnx"
            predict = session_predictor(session(model, 1, optimized))
            check(onnx.load(optimized), form, checkpoint.layers)
        return Contender(form, model, predict, distance(predict, compared, reference))

    return enter


def gather(folder: Path, recipe: Recipe) -> Texts:
    tokenizer = load_tokenizer(folder)
    task = Task.model_validate_json((folder / TASK).read_text(encoding="utf-8"))
    train = pd.read_parquet(folder / TRAIN)
    rows = train.sample(min(ROWS, len(train)), random_state=0)
    calibrated = np.arange(len(rows)) % CALIBRATED_EVERY == 0
    parts = [
        [batch for _, batch in batches_of(tokenizer, task, some, recipe, BATCH, "longest")]
        for some in (rows[calibrated], rows[~calibrated])
    ]
    return Texts(parts[0], parts[1], timed(parts[1]))


def timed(batches: list[Batch]) -> dict[str, Batch]:
    """Of sorted batches those at a quarter and at three, and single texts: middle and longest."""
    count = len(batches)
    chosen = [single(batches[count // 2]), single(batches[-1])]
    chosen += [batches[count // 4], batches[3 * count // 4]]
    return {"{} x {}".format(*batch["input_ids"].shape): batch for batch in chosen}


def single(batch: Batch) -> Batch:
    """The longest text of a batch, alone."""
    longest = int(batch["attention_mask"].sum(axis=1).argmax())
    return {name: array[longest : longest + 1] for name, array in batch.items()}


def distance(predict: Predict, batches: list[Batch], reference: list[np.ndarray]) -> float | None:
    """Mean absolute difference of all logits; None of no batches."""
    if not batches:
        return None
    apart = [
        np.abs(predict(batch) - logits).ravel()
        for batch, logits in zip(batches, reference, strict=True)
    ]
    return float(np.concatenate(apart).mean())


def race(predicts: list[Predict], batches: dict[str, Batch]) -> list[dict[str, float]]:
    """Milliseconds of each one's best call per batch, turn by turn.

    Of this thread on a CPU, which is all that a session with one thread has: what other processes
    take does not count.
    """
    best = [dict.fromkeys(batches, float("inf")) for _ in predicts]
    turns, began = 0, time.thread_time()
    while turns < TURNS or time.thread_time() - began < SECONDS:
        turns += 1
        for predict, times in zip(predicts, best, strict=True):
            predict(next(iter(batches.values())))  # caches hold the other's weights: not timed
            for shape, batch in batches.items():
                start = time.thread_time()
                predict(batch)
                times[shape] = min(times[shape], 1000 * (time.thread_time() - start))
    return best


def total(ms: dict[str, float]) -> float:
    """One figure of several shapes, each of which weighs the same."""
    return geomean(list(ms.values())) or 0.0


def line(part: str, tried: dict[str, Any]) -> str:
    times = ", ".join(f"{shape} tokens {ms:.2f} ms" for shape, ms in tried["ms"].items())
    near = "" if tried["distance"] is None else f"; {tried['distance']:.4f} from fp32"
    return f"{part} by {tried['operator']}: {times}{near}{' (chosen)' if tried['chosen'] else ''}"
