"""transformers in PyTorch in 32-bit floating point, well fed: what `fp32` is without us."""

import shutil
from pathlib import Path

from bench.isa import Isa
from bench.peers import torch_threads
from stages.model.artifact import WEIGHTS
from stages.model.classifier import load_checkpoint, predictor
from stages.model.tokens import Predict

LIBRARY, REQUIRES, BITS = "torch", (), 32
LICENCE, TELEMETRY = "BSD-3-Clause", "none"


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    return [WEIGHTS]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    threads_found = torch_threads(threads)
    return predictor(load_checkpoint(folder)), threads_found
