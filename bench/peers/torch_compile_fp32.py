"""PyTorch in fp32 as inductor compiles it: weights frozen, lengths dynamic, freed memory kept.

Weights are packed for oneDNN, which is inductor's way where batches vary, or multiplied by MKL as
without inductor: whichever is faster here.
"""

from pathlib import Path

from bench.inductor import begin, compile_to, exported, keep_fastest, load
from bench.isa import Isa

__all__ = ["load", "prepare"]

LIBRARY, REQUIRES, BITS = "torch", (), 32
LICENCE, TELEMETRY = "BSD-3-Clause", "none"
PACKED = {"packed": True, "not_packed": False}


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    from stages.model.classifier import LogitsOnly, load_checkpoint

    inputs = begin(checkpoint, folder)
    module = LogitsOnly(load_checkpoint(checkpoint), inputs).eval()
    packages = {name: folder / f"{name}.pt2" for name in PACKED}
    for name, package in packages.items():
        compile_to(exported(module, inputs), package, {"cpp.weight_prepack": PACKED[name]})
    return keep_fastest(packages, inputs)
