"""One of our variants as a runner of the race, built as the stage `quantize` builds it."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from bench.isa import Isa
from bench.peers import torch_threads
from stages import variants
from stages.dataset.task import Task
from stages.engines.runtime.shipped.classify import LIBRARY, Model
from stages.model.artifact import WEIGHTS
from stages.model.ingredients import Ingredients, Skipped
from stages.model.tokens import Batch, Predict, unpadded
from stages.plumbing.memory import keep_freed_memory

# The rows that a variant may learn from before it is built, and the task: see workloads.py.
TRAIN, TASK = "train.parquet", "task.json"


# What int8_fast's lead is made of, taken away one after the other. The first is int8_fast as torch
# runs it, operator by operator: TorchScript's way, and what it was before it had its own runtime.
IN_TORCH = "int8_fast_less_runtime"
TAKEN_AWAY = (
    IN_TORCH,
    "int8_fast_less_first_token",
    "int8_fast_less_unpadding",
    "int8_fast_less_kernel",
)


# These run as they ship: by a library of a few hundred kB, without torch. The variable names the
# instruction set to use, see isa.py.
PACKED = {"int8_fast": "INT8_FAST_KERNEL", "ibert": "IBERT_KERNEL"}


class Ours:
    def __init__(self, name: str) -> None:
        self.taken_away = TAKEN_AWAY.index(name) + 1 if name in TAKEN_AWAY else 0
        self.name = name = "int8_fast" if self.taken_away else name
        self.LIBRARY = "onnxruntime" if "onnx" in name else "torch"
        if name in PACKED:
            self.LIBRARY = name
        self.FIRST_TOKEN_ONLY = name in PACKED and self.taken_away < 2
        self.LEAVES_PADDING_OUT = name in PACKED and self.taken_away < 3
        self.REQUIRES: tuple[str, ...] = ("torchao",) if "torchao" in name else ()
        self.BITS = 32 if name == variants.REFERENCE else 8

    def prepare(self, checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
        task = Task.model_validate_json((checkpoint / TASK).read_text(encoding="utf-8"))
        learned = folder.with_name(f"{folder.name}.learned")
        ingredients = Ingredients(task, checkpoint, checkpoint / TRAIN, learned)
        manifest = variants.build_artifact(self.name, ingredients, settings(self.name, isa), folder)
        if manifest.skipped:
            raise Skipped(manifest.skipped)
        if self.name in PACKED and not self.taken_away:
            engine: Any = variants.get(self.name).engine
            shutil.copyfile(engine.RUNTIME.library(), folder / LIBRARY)
        endings = (".safetensors", ".onnx", ".pt")
        return [path.name for path in sorted(folder.iterdir()) if path.suffix in endings]

    def load(self, folder: Path, threads: int) -> tuple[Predict, int | None]:
        if self.name in PACKED and not self.taken_away:
            return as_shipped(self.name, folder, threads), threads
        threads_found = torch_threads(threads)
        if self.taken_away:
            return without(self.taken_away, folder), threads_found
        return variants.get(self.name).engine.load(folder), threads_found


def as_shipped(name: str, folder: Path, threads: int) -> Predict:
    model = Model(folder / LIBRARY, folder / WEIGHTS, os.environ.get(PACKED[name], ""))

    def predict(batch: Batch) -> np.ndarray:
        starts, flat = unpadded(batch, name)
        return model.logits(flat["input_ids"], starts, flat.get("token_type_ids"), threads)

    return predict


def without(parts: int, folder: Path) -> Predict:
    """int8_fast less the first so many of TAKEN_AWAY."""
    from stages.variants.int8_fast import encoder
    from stages.variants.int8_fast.kernel import operators
    from stages.variants.int8_fast.kernel.dispatch import choose_kernel
    from stages.variants.int8_fast.linear import LIBRARY

    operators.load()
    kernel = LIBRARY if parts > 3 else choose_kernel()
    classifier = encoder.read(folder / WEIGHTS, kernel, first_token_only=parts < 2)
    keep_freed_memory()
    return with_padding(classifier) if parts > 2 else classifier


def with_padding(predict: Predict) -> Predict:
    """Whose padding is computed like text, as by all who have no better way: answers are off."""

    def padded(batch: Batch) -> np.ndarray:
        return predict(batch | {"attention_mask": np.ones_like(batch["attention_mask"])})

    return padded


def settings(name: str, isa: Isa) -> Any:
    """As params.yaml has them, where it lists the variant; 7 bits where VNNI is only hidden.

    `auto` asks the CPU, which does not know that it is hiding something.
    """
    # Here, since it brings much along that what ships does not need.
    from stages.settings.params import load_params

    params = load_params()
    chosen = params.variant(name) if name in params.quantize else variants.get(name).params()
    if isa.simulated and getattr(chosen, "reduce_range", None) == "auto":
        chosen = chosen.model_copy(update={"reduce_range": True})
    return chosen
