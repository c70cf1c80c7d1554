"""torch.ao's dynamic quantization of Linear layers: the one place that imports it.

torch.ao.quantization is deprecated in favour of torchao, which has no CPU kernels to match it yet;
when torch drops it, this file is what must change. Storage is ours: safetensors, no pickle.
"""

import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.plumbing.command import UserError, nearest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.ao.nn.quantized.dynamic import Linear as QuantizedLinear
    from torch.ao.quantization import (
        default_dynamic_qconfig,
        float16_dynamic_qconfig,
        per_channel_dynamic_qconfig,
        quantize_dynamic,
    )

__all__ = [
    "CONFIGS",
    "QuantizedLinear",
    "load",
    "quantize_linears",
    "quantized_linears",
    "save",
    "scales",
    "use_engine",
]

# How the weights of a Linear are stored.
CONFIGS = {
    "per_tensor": default_dynamic_qconfig,
    "per_channel": per_channel_dynamic_qconfig,
    "float16": float16_dynamic_qconfig,
}


def use_engine(engine: str) -> None:
    """Choose the library that packs and multiplies the int8 weights.

    Raises:
        UserError: this build of torch lacks the engine.
    """
    supported = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    if engine not in supported:
        raise UserError(
            f"the quantized engine '{engine}' is not in this build of torch; "
            f"{nearest(engine, supported)}"
        )
    torch.backends.quantized.engine = engine


def quantize_linears(module: nn.Module, weights: str) -> nn.Module:
    """Replace each Linear; `weights` is a key of CONFIGS.

    int8 weights are symmetric, their activations quantized at run time; float16 ones are
    multiplied with float32 activations.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized: nn.Module = quantize_dynamic(module, {nn.Linear: CONFIGS[weights]})
    return quantized


def quantized_linears(module: nn.Module) -> dict[str, QuantizedLinear]:
    children = module.named_modules()
    return {name: child for name, child in children if isinstance(child, QuantizedLinear)}


def save(module: nn.Module, target: Path) -> None:
    """Write int8 weights as int8 with their float64 scales, float16 ones as float16."""
    tensors: dict[str, Tensor] = {}
    linears = quantized_linears(module)
    for name, linear in linears.items():
        weight, bias = linear._weight_bias()  # each call unpacks both
        if weight.dtype == torch.qint8:
            tensors[f"{name}.weight"] = weight.int_repr()
            tensors[f"{name}.weight_scale"] = scales(weight)
        else:  # torch keeps float16 values in float32
            tensors[f"{name}.weight"] = weight.half()
        if bias is not None:
            tensors[f"{name}.bias"] = bias
    for name, value in module.state_dict().items():
        if not belongs_to(name, linears) and isinstance(value, Tensor):
            tensors[name] = value.contiguous()
    save_file(tensors, target)


def scales(weight: Tensor) -> Tensor:
    """Of a quantized tensor, float64: shape () per tensor, (channels,) per channel."""
    if weight.qscheme() == torch.per_tensor_affine:
        return torch.tensor(weight.q_scale(), dtype=torch.float64)
    return weight.q_per_channel_scales().double()


def saved_as(tensors: dict[str, Tensor]) -> str:
    """The key of CONFIGS for what `save` wrote: only int8 weights have scales."""
    scale = next((value for name, value in tensors.items() if name.endswith("_scale")), None)
    if scale is None:
        return "float16"
    return "per_channel" if scale.ndim else "per_tensor"


def load(architecture: nn.Module, source: Path) -> nn.Module:
    """Fill `architecture` (an FP32 module with any weights) from what `save` wrote.

    Raises:
        UserError: the file belongs to another architecture.
    """
    tensors = load_file(source)
    module = quantize_linears(architecture, saved_as(tensors))
    linears = quantized_linears(module)
    state = module.state_dict()
    others = {name for name in state if not belongs_to(name, linears)}
    for name in linears:
        weight = tensors.pop(f"{name}.weight")
        scale = tensors.pop(f"{name}.weight_scale", None)
        packed = (
            weight.float() if scale is None else int8_weight(weight, scale),
            tensors.pop(f"{name}.bias", None),
        )
        state[f"{name}._packed_params._packed_params"] = packed
    if others != set(tensors):
        raise UserError(
            f"{source} does not fit its config.json: they differ in "
            f"{sorted(others ^ set(tensors))[:3]}; run 'dvc repro' to build it anew"
        )
    # Not `|`, which would lose the versions that torch keeps in the state.
    state.update(tensors)
    module.load_state_dict(state)
    return module


def int8_weight(weight: Tensor, scale: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if scale.ndim == 0:
            return torch._make_per_tensor_quantized_tensor(weight, scale.item(), 0)
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        return torch._make_per_channel_quantized_tensor(weight, scale, zeros, 0)


def belongs_to(key: str, linears: dict[str, QuantizedLinear]) -> bool:
    return any(key.startswith(f"{name}.") for name in linears)
