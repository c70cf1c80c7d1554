"""PyTorch in fp32 as inductor compiles it: weights frozen, lengths dynamic, freed memory kept.

Weights are packed for oneDNN, which is inductor's way where batches vary, or multiplied by MKL as
without inductor: whichever is faster here.
"""

from pathlib import Path

from bench.inductor import compile_to, exported, fastest_package, need_compiler, opened
from bench.isa import Isa
from bench.peers import torch_threads
from stages.model.artifact import copy_without_weights, read_recipe
from stages.model.tokens import Predict
from stages.plumbing.memory import keep_freed_memory

LIBRARY, REQUIRES, BITS = "torch", (), 32
LICENCE, TELEMETRY = "BSD-3-Clause", "none"
COMPILED = "model.pt2"
PACKED = {"packed": True, "not_packed": False}


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    from stages.model.classifier import LogitsOnly, load_checkpoint

    need_compiler()
    torch_threads(1)
    keep_freed_memory()
    copy_without_weights(checkpoint, folder)
    inputs = read_recipe(checkpoint).inputs
    module = LogitsOnly(load_checkpoint(checkpoint), inputs).eval()
    packages = {name: folder / f"{name}.pt2" for name in PACKED}
    for name, package in packages.items():
        compile_to(exported(module, inputs), package, {"cpp.weight_prepack": PACKED[name]})
    fastest_package(packages, inputs).rename(folder / COMPILED)
    return [COMPILED]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    threads_found = torch_threads(threads)
    keep_freed_memory()
    return opened(folder / COMPILED, read_recipe(folder).inputs), threads_found
