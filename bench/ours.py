"""One of our variants as a runner of the race, built as the stage `quantize` builds it."""

from pathlib import Path
from typing import Any

from bench.isa import Isa
from bench.peers import torch_threads
from stages import variants
from stages.model.artifact import copy_without_weights, write_manifest
from stages.model.tokens import Predict
from stages.plumbing.command import UserError
from stages.settings.params import load_params
from stages.tasks import Task
from stages.variants import Source

# The rows that a variant may read while it is built, and the task: see work.py.
TRAIN, TASK = "train.parquet", "task.json"


class Ours:
    def __init__(self, name: str) -> None:
        self.name = name
        self.LIBRARY = "onnxruntime" if "onnx" in name else "torch"
        if name == "int8_fast":
            self.LIBRARY = name
        self.REQUIRES: tuple[str, ...] = ("torchao",) if "torchao" in name else ()
        self.BITS = 32 if name == variants.REFERENCE else 8

    def prepare(self, checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
        variant = variants.get(self.name)
        if hasattr(variant, "calibrate"):
            raise UserError(
                f"{self.name} learns from training rows before it is built, which the race does "
                "not do; name a variant that does not"
            )
        task = Task.model_validate_json((checkpoint / TASK).read_text(encoding="utf-8"))
        source = Source(task, checkpoint, checkpoint / TRAIN, folder)
        params = settings(self.name, isa)
        copy_without_weights(checkpoint, folder)
        variant.build(source, folder, params)
        write_manifest(folder, self.name, params.model_dump())
        count = variant.count_quantized(folder)
        if count == 0 and self.name != variants.REFERENCE:
            raise UserError(f"{self.name} has no quantized operator here")
        write_manifest(folder, self.name, params.model_dump(), quantized_ops=count)
        endings = (".safetensors", ".onnx", ".pt")
        return [path.name for path in sorted(folder.iterdir()) if path.suffix in endings]

    def load(self, folder: Path, threads: int) -> tuple[Predict, int | None]:
        found = torch_threads(threads)
        return variants.get(self.name).load(folder), found


def settings(name: str, isa: Isa) -> Any:
    """As params.yaml has them, where it lists the variant; 7 bits where VNNI is only hidden.

    `auto` asks the CPU, which does not know that it is hiding something.
    """
    params = load_params()
    chosen = params.variant(name) if name in params.quantize else variants.get(name).Params()
    if isa.simulated and getattr(chosen, "reduce_range", None) == "auto":
        chosen = chosen.model_copy(update={"reduce_range": True})
    return chosen
