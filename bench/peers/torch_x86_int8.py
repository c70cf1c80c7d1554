"""PyTorch's int8 for x86: PT2E with torchao's X86InductorQuantizer, lowered by inductor.

Scales of activations are of each call or learned from training rows, whichever is faster here.
Without VNNI oneDNN's products of u8 and s8 saturate, so weights get 7 bits there: the quantizer's
own `reduce_range` takes the bit from the activations instead.
"""

import dataclasses
from pathlib import Path
from typing import Any

from bench.calibration import training_batches
from bench.inductor import compile_to, exported, fastest_package, need_compiler, opened
from bench.isa import Isa
from bench.peers import torch_threads
from stages.model.artifact import copy_without_weights, read_recipe
from stages.model.tokens import Batch, Predict
from stages.plumbing.memory import keep_freed_memory

LIBRARY, REQUIRES, BITS = "torch", ("torchao",), 8
LICENCE, TELEMETRY = "BSD-3-Clause", "none"
COMPILED = "model.pt2"
SCALES = ("static", "dynamic")
ROWS = 64  # for the static scales


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    need_compiler()
    torch_threads(1)
    keep_freed_memory()
    copy_without_weights(checkpoint, folder)
    inputs = read_recipe(checkpoint).inputs
    rows = training_batches(checkpoint, ROWS)
    packages = {scales: folder / f"{scales}.pt2" for scales in SCALES}
    for scales, package in packages.items():
        compile_to(quantized(checkpoint, inputs, rows, scales == "dynamic", isa.vnni), package)
    fastest_package(packages, inputs).rename(folder / COMPILED)
    return [COMPILED]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    threads_found = torch_threads(threads)
    keep_freed_memory()
    return opened(folder / COMPILED, read_recipe(folder).inputs), threads_found


def quantized(
    checkpoint: Path, inputs: list[str], rows: list[Batch], dynamic: bool, vnni: bool
) -> Any:
    """The program of torch.export, its linear layers between quantizing and dequantizing."""
    import torch
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    from stages.model.classifier import LogitsOnly, load_checkpoint

    module = LogitsOnly(load_checkpoint(checkpoint), inputs).eval()
    quantizer = x86.X86InductorQuantizer()
    quantizer.set_function_type_qconfig(torch.nn.functional.linear, config(dynamic, vnni))
    prepared = prepare_pt2e(exported(module, inputs).module(check_guards=False), quantizer)
    with torch.no_grad():
        for row in rows[:1] if dynamic else rows:
            prepared(*(torch.from_numpy(row[name]) for name in inputs))
    return exported(convert_pt2e(prepared), inputs)


def config(dynamic: bool, vnni: bool) -> Any:
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    standard = x86.get_default_x86_inductor_quantization_config(is_dynamic=dynamic)
    if vnni:
        return standard
    weight = dataclasses.replace(standard.weight, quant_min=-64, quant_max=63)
    return dataclasses.replace(standard, weight=weight)
