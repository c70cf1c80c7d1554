"""torchao's int8 Linears: the one place that imports it. Optional: requirements-torchao.txt."""

import importlib
import logging
import time
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from stages.model.classifier import predictor
from stages.plumbing.command import UserError

INSTALL = "pip install -r requirements-torchao.txt"


class Missing(Exception):
    """torchao is not installed."""


def torchao() -> ModuleType:
    """The package `torchao.quantization`, imported without its notes on GPU kernels.

    Raises:
        Missing: it is not installed.
        UserError: it does not work with this torch.
    """
    noisy = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module("torchao.quantization")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "torchao":
            raise Missing("torchao is not installed") from None
        raise
    except ImportError as error:
        raise UserError(f"torchao does not work with this torch ({error}); {INSTALL}") from error
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)


def quantize_linears(module: nn.Module, reduce_range: bool) -> None:
    """Replace the weight of each Linear in place; with `reduce_range`, by 7 bits instead of 8."""
    package = torchao()
    # The default setting also changes the options of torch.compile, for the whole process.
    config = package.Int8DynamicActivationInt8WeightConfig(
        version=2, reduce_range=reduce_range, set_inductor_config=False
    )
    package.quantize_(module, config)


def quantized_linears(module: nn.Module) -> dict[str, Any]:
    """Layer name -> Linear whose weight is torchao's int8 tensor, which has `qdata` and `scale`."""
    kind = torchao().Int8Tensor
    linears = {name: one for name, one in module.named_modules() if isinstance(one, nn.Linear)}
    return {name: linear for name, linear in linears.items() if isinstance(linear.weight, kind)}


def seconds_per_batch(module: Any, inputs: list[str], max_length: int, limit: float) -> float:
    """Of a batch of 8 x 64 random tokens; extrapolated where that would take far over `limit`."""
    predict = predictor(module)
    generator = torch.Generator().manual_seed(0)

    def seconds(rows: int, length: int) -> float:
        shape = (rows, min(length, max_length))
        ids = torch.randint(5, module.config.vocab_size, shape, generator=generator).numpy()
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        start = time.perf_counter()
        predict({name: values.get(name, np.zeros_like(ids)) for name in inputs})
        return time.perf_counter() - start

    seconds(1, 8)  # the first call also sets things up
    small, double = seconds(1, 16), seconds(1, 32)
    guess = double + (double - small) * (8 * 64 - 32) / 16
    return guess if guess > 3 * limit else seconds(8, 64)


def save(module: nn.Module, target: Path, reduce_range: bool) -> None:
    """Write int8 as int8, everything else as it is."""
    linears = quantized_linears(module)
    tensors = {
        name: value.contiguous()
        for name, value in module.state_dict().items()
        if name.removesuffix(".weight") not in linears
    }
    for name, linear in linears.items():
        tensors[f"{name}.weight"] = linear.weight.qdata
        tensors[f"{name}.weight_scale"] = linear.weight.scale
    save_file(tensors, target, metadata={"reduce_range": str(reduce_range).lower()})


def load(architecture: nn.Module, source: Path) -> nn.Module:
    """Fill `architecture` (an FP32 module with any weights) from what `save` wrote.

    Raises:
        UserError: the file belongs to another architecture.
    """
    with safe_open(source, "pt") as file:
        reduce_range = file.metadata()["reduce_range"] == "true"
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    quantize_linears(architecture, reduce_range)
    linears = quantized_linears(architecture)
    state = architecture.state_dict()
    others = {name: state[name] for name in state if name.removesuffix(".weight") not in linears}
    ours = {f"{name}.{kind}" for name in linears for kind in ("weight", "weight_scale")}
    if strange := sorted((set(others) | ours) ^ set(tensors)):
        raise UserError(
            f"{source} does not fit its config.json: they differ in {strange[:3]}; run "
            "'dvc repro' to build it anew"
        )
    for name, linear in linears.items():
        linear.weight.qdata.copy_(tensors[f"{name}.weight"])
        linear.weight.scale.copy_(tensors[f"{name}.weight_scale"])
    for name, value in others.items():
        value.copy_(tensors[name])
    return architecture
