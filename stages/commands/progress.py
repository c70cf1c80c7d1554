"""How long a run will take and how much of it is left: reckoned from a first look at the model.

Seconds on two cores with AVX2, measured there; on another machine they are off by what it differs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from stages.settings.params import Params

# Beside its work, each stage starts Python and its libraries.
START = 4.0
BUILD = 6.0  # seconds to calibrate, build and compare a variant of a small model, whatever it is
# A variant's time for a batch in parts of fp32's.
OF_FP32 = {"int8_dynamic": 0.6, "int8_onnx": 0.5, "int8_fast": 0.3, "ibert": 0.3}
EXPORT_TEXTS = 200  # which the exported files answer anew, one by one
Item = str  # as DVC names it: stage@task-seed-variant


@dataclass(frozen=True)
class Speed:
    """Of fp32.

    Attributes:
        single, batched: seconds for a text by itself on one thread, and in batches on all.
    """

    single: float
    batched: float


def expected(params: Params, texts: int, speed: Speed) -> dict[Item, float]:
    """Seconds of each stage of one task that trains nothing, in the order that they may run in."""
    (task,) = params.tasks
    variants, seed, timing = list(params.quantize), params.finetune.seeds[0], params.latency
    calls = timing.rounds * (timing.queries + timing.warmup)
    per_text = {name: OF_FP32.get(name, 1.0) for name in variants}
    single = sum(per_text.values()) * speed.single
    found: dict[Item, float] = {"code": START, "environment": START}
    found |= {f"download_glue@{task}": START, f"finetune@{task}-{seed}": 2 * START}
    found |= {f"quantize@{task}-{seed}-{name}": START + BUILD for name in variants}
    found[f"size_report@{task}"] = START
    for name, share in per_text.items():
        found[f"evaluate@{task}-{seed}-{name}"] = START + share * texts * speed.batched
    groups = len(timing.threads) * sum(timing.batch_sizes)
    found[f"latency@{task}"] = START * (1 + len(variants)) * timing.rounds + groups * calls * single
    found[f"compare@{task}"] = 2 * START
    found[f"export@{task}"] = 3 * START + EXPORT_TEXTS * 2 * speed.single
    found["summary"] = START
    return found


def left(stages: dict[Item, float], over: Iterable[Item], seconds: float) -> float:
    """Seconds, at the pace so far.

    Args:
        over: stages that are done.
        seconds: that they took.
    """
    done = sum(stages.get(item, 0.0) for item in over)
    pace = seconds / done if done else 1.0
    return pace * (sum(stages.values()) - done)


def in_words(seconds: float) -> str:
    """To half a minute, which is more than is known."""
    halves = round(seconds / 30)
    if halves < 1:
        return "less than half a minute"
    minutes = f"{halves / 2:g}"
    return f"about {minutes} {'minute' if minutes == '1' else 'minutes'}"
