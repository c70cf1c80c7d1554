"""PyTorch's int8 for x86: PT2E with torchao's X86InductorQuantizer, lowered by inductor.

Scales of activations are of each call or learned from training rows, whichever is faster here.
Without VNNI oneDNN's products of u8 and s8 saturate, so weights get 7 bits there: the quantizer's
own `reduce_range` takes the bit from the activations instead.
"""

import dataclasses
from pathlib import Path
from typing import Any

from bench.calibration import training_batches
from bench.inductor import begin, compile_to, exported, keep_fastest, load
from bench.isa import Isa
from stages.model.tokens import Batch

__all__ = ["load", "prepare"]

LIBRARY, REQUIRES, BITS = "torch", ("torchao",), 8
LICENCE, TELEMETRY = "BSD-3-Clause", "none"
SCALES = ("static", "dynamic")
ROWS = 64  # for the static scales


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    inputs = begin(checkpoint, folder)
    rows = training_batches(checkpoint, ROWS)
    packages = {scales: folder / f"{scales}.pt2" for scales in SCALES}
    for scales, package in packages.items():
        compile_to(quantized(checkpoint, inputs, rows, scales == "dynamic", isa.vnni), package)
    return keep_fastest(packages, inputs)


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
