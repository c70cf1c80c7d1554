"""torchao's dynamic quantization, the announced successor of torch's quantize_dynamic.

One weight scale per output channel, one activation scale per token, both symmetric; embeddings stay
in FP32. Not compiled: as `quantize_` leaves it, which on some CPUs is far slower than FP32.
"""

import importlib
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from stages.models.artifact import WEIGHTS, read_manifest, read_recipe
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict
from stages.plumbing.command import UserError
from stages.plumbing.section import Section
from stages.variants import Skipped, Source

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]

INSTALL = "pip install -r requirements-torchao.txt"


class Params(Section):
    max_s_per_batch: float = Field(20.0, gt=0)  # 8 x 64 tokens; slower ones are of no use


class Missing(Exception):
    """torchao is not installed."""


def torchao() -> "ModuleType":
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


def build(source: Source, folder: Path, params: Section) -> None:
    from safetensors.torch import save_file

    from stages.measure.environment import instruction_set

    assert isinstance(params, Params)
    recipe = read_recipe(source.checkpoint)
    again = f"dvc repro -f -s quantize@{recipe.task}-{recipe.seed}-torchao_int8 && dvc repro"
    try:
        torchao()  # before transformers, which imports it with all its notes
    except Missing as missing:
        raise Skipped(f"{missing}; {INSTALL}, then {again}") from None

    from stages.models.classifier import load_checkpoint
    from stages.models.quantizers import check_finite

    module = load_checkpoint(source.checkpoint)
    for name, parameter in module.named_parameters():
        check_finite(name, parameter)
    reduced = "vnni" not in instruction_set()
    quantize_linears(module, reduced)
    found = seconds_per_batch(module, recipe.inputs, recipe.max_length, params.max_s_per_batch)
    if found > params.max_s_per_batch:
        raise Skipped(
            f"a batch of 8 x 64 tokens takes torchao about {found:.3g} s on this CPU, over the "
            f"{params.max_s_per_batch:g} s of quantize.torchao_int8.max_s_per_batch; with a higher "
            f"limit, or on another CPU (VNNI or AMX): {again}"
        )
    linears = quantized_linears(module)
    tensors = {
        name: value.contiguous()
        for name, value in module.state_dict().items()
        if name.removesuffix(".weight") not in linears
    }
    for name, linear in linears.items():
        tensors[f"{name}.weight"] = linear.weight.qdata
        tensors[f"{name}.weight_scale"] = linear.weight.scale
    save_file(tensors, folder / WEIGHTS, metadata={"reduce_range": str(reduced).lower()})


def quantize_linears(module: "nn.Module", reduced: bool) -> None:
    """Replace the weight of each Linear in place; with `reduced`, by 7 bits instead of 8."""
    package = torchao()
    # The default setting also changes the options of torch.compile, for the whole process.
    config = package.Int8DynamicActivationInt8WeightConfig(
        version=2, reduce_range=reduced, set_inductor_config=False
    )
    package.quantize_(module, config)


def quantized_linears(module: "nn.Module") -> dict[str, Any]:
    """Layer name -> Linear whose weight is torchao's int8 tensor, which has `qdata` and `scale`."""
    from torch import nn

    kind = torchao().Int8Tensor
    found = {name: one for name, one in module.named_modules() if isinstance(one, nn.Linear)}
    return {name: linear for name, linear in found.items() if isinstance(linear.weight, kind)}


def seconds_per_batch(module: Any, inputs: list[str], max_length: int, limit: float) -> float:
    """Of a batch of 8 x 64 random tokens; extrapolated where that would take far over `limit`."""
    import torch

    from stages.models.classifier import predictor

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


def module(artifact: Path) -> "nn.Module":
    """Raises UserError if torchao is not installed, or the weights belong to another model."""
    try:
        torchao()
    except Missing as missing:
        raise UserError(f"{missing}, so {artifact} cannot be loaded; {INSTALL}") from None

    from safetensors import safe_open

    from stages.models.classifier import without_weights

    with safe_open(artifact / WEIGHTS, "pt") as file:
        reduced = file.metadata()["reduce_range"] == "true"
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    loaded = without_weights(artifact)
    quantize_linears(loaded, reduced)
    linears = quantized_linears(loaded)
    state = loaded.state_dict()
    others = {name: state[name] for name in state if name.removesuffix(".weight") not in linears}
    ours = {f"{name}.{kind}" for name in linears for kind in ("weight", "weight_scale")}
    if strange := sorted((set(others) | ours) ^ set(tensors)):
        raise UserError(
            f"{artifact / WEIGHTS} does not fit its config.json: they differ in {strange[:3]}; run "
            "'dvc repro' to build it anew"
        )
    for name, linear in linears.items():
        linear.weight.qdata.copy_(tensors[f"{name}.weight"])
        linear.weight.scale.copy_(tensors[f"{name}.weight_scale"])
    for name, value in others.items():
        value.copy_(tensors[name])
    return loaded


def load(artifact: Path) -> Predict:
    from stages.measure.environment import instruction_set
    from stages.models.classifier import predictor

    loaded = module(artifact)
    weights = [linear.weight for linear in quantized_linears(loaded).values()]
    if not all(weight.reduce_range for weight in weights) and "vnni" not in instruction_set():
        recipe = read_manifest(artifact).recipe
        print(
            f"torchao_int8 of {recipe.task} has 8-bit weights, which overflow on this CPU without "
            "VNNI, so its answers differ from those of other CPUs; rebuild it here with "
            f"'dvc repro -f -s quantize@{recipe.task}-{recipe.seed}-torchao_int8'",
            file=sys.stderr,
        )
    return predictor(loaded)


def count_quantized(artifact: Path) -> int:
    return len(quantized_linears(module(artifact)))


def export(artifact: Path, folder: Path) -> list[str]:
    """ONNX only: torch.jit.trace does not see through torchao's tensors."""
    from stages.models.classifier import write_onnx

    loaded = module(artifact)
    for name, linear in quantized_linears(loaded).items():
        loaded.set_submodule(name, onnx_linear(linear))
    write_onnx(loaded, read_manifest(artifact).recipe.inputs, folder / "model.onnx")
    return ["model.onnx"]


def onnx_linear(linear: Any) -> "nn.Module":
    """The same product around MatMulInteger. Only for export: Python gets zeros from it."""
    import torch
    from torch import Tensor, nn

    low, high = (-64, 63) if linear.weight.reduce_range else (-128, 127)

    class OnnxLinear(nn.Module):
        weight: Tensor
        weight_scale: Tensor
        bias: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", linear.weight.qdata.t().contiguous())
            self.register_buffer("weight_scale", linear.weight.scale.flatten())
            none = torch.zeros(linear.out_features)
            self.register_buffer("bias", none if linear.bias is None else linear.bias.detach())

        def forward(self, x: Tensor) -> Tensor:
            scale = x.abs().amax(dim=-1, keepdim=True) / ((high - low) / 2)
            scale = scale.clamp(min=torch.finfo(torch.float32).eps)
            q = torch.round(x * (1.0 / scale)).clamp(low, high)
            sums = torch.onnx.ops.symbolic(
                "MatMulInteger",
                # ONNX Runtime is fast for unsigned activations only, so zero lies at -low.
                ((q - low).to(torch.uint8), self.weight, torch.tensor(-low, dtype=torch.uint8)),
                dtype=torch.int32,
                shape=(*x.shape[:-1], linear.out_features),
            )
            return sums.to(torch.float32) * scale * self.weight_scale + self.bias

    return OnnxLinear()
