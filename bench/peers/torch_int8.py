"""PyTorch's `quantize_dynamic`, well fed, with the engine that is fastest on this CPU.

Engines: `fbgemm` (which `x86` takes for linear layers), `onednn` and `qnnpack`. The process keeps
freed memory: each layer's output is taken and freed anew, and would be cleared each time.
"""

import shutil
from pathlib import Path
from typing import Any

from bench.isa import Isa
from bench.peers import fastest, torch_threads
from stages.engines.torch_dynamic.layers import quantize_linears, save, use_engine
from stages.model.classifier import load_checkpoint, predictor
from stages.model.tokens import Predict
from stages.plumbing.files import write_text
from stages.plumbing.memory import keep_freed_memory

LIBRARY, REQUIRES, BITS = "torch", (), 8
LICENCE, TELEMETRY = "BSD-3-Clause", "none"
ENGINES = ("fbgemm", "onednn", "qnnpack")
CHOSEN, STORED = "engine.txt", "int8.safetensors"


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    torch_threads(1)
    keep_freed_memory()
    engine = fastest({name: predictor(quantized(folder, name)) for name in available()})
    write_text(folder / CHOSEN, engine)
    save(quantized(folder, engine), folder / STORED)
    return [STORED]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    threads_found = torch_threads(threads)
    keep_freed_memory()
    return predictor(quantized(folder, (folder / CHOSEN).read_text())), threads_found


def available() -> list[str]:
    import torch

    return [name for name in ENGINES if name in torch.backends.quantized.supported_engines]


def quantized(folder: Path, engine: str) -> Any:
    use_engine(engine)
    return quantize_linears(load_checkpoint(folder), "per_tensor")
