"""torchao's dynamic int8, as `quantize_` leaves it: not compiled. Very slow on some CPUs."""

from pathlib import Path

from bench.isa import Isa
from bench.peers import torch_threads
from stages.model.tokens import Predict

LIBRARY, REQUIRES, BITS = "torch", ("torchao",), 8
LICENCE, TELEMETRY = "BSD-3-Clause", "none"
STORED = "int8.safetensors"


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    from stages.model.artifact import copy_without_weights
    from stages.model.classifier import load_checkpoint
    from stages.variants.torchao_int8.layers import quantize_linears, save

    copy_without_weights(checkpoint, folder)
    module = load_checkpoint(checkpoint)
    quantize_linears(module, reduce_range=not isa.vnni)
    save(module, folder / STORED, reduce_range=not isa.vnni)
    return [STORED]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    from stages.model.classifier import predictor, without_weights
    from stages.variants.torchao_int8.layers import load as load_torchao
    from stages.variants.torchao_int8.layers import torchao

    threads_found = torch_threads(threads)
    torchao()  # before transformers, which imports it with all its notes
    return predictor(load_torchao(without_weights(folder), folder / STORED)), threads_found
