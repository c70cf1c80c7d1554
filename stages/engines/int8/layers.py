"""Linear and embedding layers in int8: the modules, swapping them in, and their storage.

The product is FBGEMM's. With x = low + scale * q (see quantizers.py), rows i, channels j and sums
over k,

    y_ij = sum_k x_ik w_jk + b_j = scale_i * (sum_k q_ik w_jk) + low_i * (sum_k w_jk) + b_j,

so scale and offset of a row are applied outside of the integer product.
"""

import inspect
import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.engines.int8.quantizers import (
    Activations,
    Range,
    affine,
    dynamic_range,
    quantize_weight,
)
from stages.model.classifier import check_finite, example
from stages.plumbing.command import UserError

INPUTS = ("input_ids", "token_type_ids", "attention_mask")


class Int8Linear(nn.Module):
    """y = x W' + b with int8 weights; float32 of shape (..., n) with two dimensions or more.

    A NaN in x comes out as NaN, but for a static layer, whose integers cannot say it.
    """

    weight: Tensor
    weight_scale: Tensor
    weight_sum: Tensor
    bias: Tensor

    def __init__(
        self, weight: Tensor, scale: Tensor, bias: Tensor, how: Activations, span: Range | None
    ) -> None:
        super().__init__()
        self.how, self.span = how, span
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale)
        self.register_buffer("bias", bias)
        sums = weight.double().sum(dim=1) * scale.double()
        self.register_buffer("weight_sum", sums.float(), persistent=False)
        self.packed = pack(weight, scale, bias if span is not None else None)

    def forward(self, x: Tensor) -> Tensor:
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        steps = self.how.steps
        if self.span is not None:
            scale, zero = affine(self.span, steps)
            inside = x.clamp(-zero * scale, (steps - zero) * scale)
            return product(inside, scale, zero, self.packed)
        low, step = dynamic_range(x, self.how)
        y = torch.addcmul(self.bias, product((x - low) / step, 1.0, 0, self.packed), step)
        return torch.addcmul(y, low, self.weight_sum)


def pack(weight: Tensor, scale: Tensor, bias: Tensor | None) -> object:
    """FBGEMM's layout of the weights.

    Raises:
        UserError: this build of torch has no FBGEMM.
    """
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise UserError(
            "this variant multiplies with FBGEMM, which needs an x86 CPU with AVX2; take it out of "
            "'quantize' in params.yaml, or use int8_onnx"
        )
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # quantized tensors are deprecated; torch is pinned
            zeros = torch.zeros(len(scale), dtype=torch.int64)
            quantized = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        packed: object = torch.ops.quantized.linear_prepack(quantized, bias)
    finally:
        torch.backends.quantized.engine = before
    return packed


class Int8Embedding(nn.Module):
    """Rows of int8 with one scale each; float32 comes out."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("weight_scale", scale)

    def forward(self, ids: Tensor) -> Tensor:
        return self.weight[ids].float() * self.weight_scale[ids].unsqueeze(-1)


def layers(module: nn.Module, kind: type[nn.Module]) -> dict[str, nn.Module]:
    """Those that are called as `kind` is.

    RoFormer's table of positions, say, is an Embedding that is not given ids.
    """
    return {
        name: child
        for name, child in module.named_modules()
        if isinstance(child, kind) and type(child).forward is kind.forward
    }


def read_otherwise(module: nn.Module) -> frozenset[str]:
    """Names of Linear and Embedding layers that a forward pass does not call.

    Somebody reads their weight instead, as DeBERTa does with its `rel_embeddings`: it must stay
    there, in floating point.
    """
    accepted = inspect.signature(module.forward).parameters
    inputs = [name for name in INPUTS if name in accepted]
    found = {**layers(module, nn.Linear), **layers(module, nn.Embedding)}
    called: set[str] = set()
    hooks = [
        child.register_forward_hook(lambda *_, name=name: called.add(name))
        for name, child in found.items()
    ]
    was_training = module.training
    with torch.inference_mode():
        module.eval()(**dict(zip(inputs, example(inputs), strict=True)))
    module.train(was_training)
    for hook in hooks:
        hook.remove()
    return frozenset(found) - called


def quantize_layers(
    module: nn.Module,
    how: Activations,
    *,
    per_channel: bool = True,
    embeddings: bool = False,
    keep: frozenset[str] = frozenset(),
    ranges: dict[str, Range] | None = None,
    round_weight: Callable[[str, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> nn.Module:
    """Replace Linear (and Embedding) layers of `module` in place, except those in `keep`.

    Args:
        round_weight: name and weight of a Linear -> int8 and scales, instead of `quantize_weight`.
        ranges: of the input of each Linear by name, if `how` is static.

    Raises:
        UserError: NaN or infinity anywhere in `module`.
    """
    for name, value in module.state_dict().items():
        check_finite(name, value)
    for name, child in {**layers(module, nn.Linear), **layers(module, nn.Embedding)}.items():
        assert isinstance(child, nn.Linear | nn.Embedding)
        if name in keep or (isinstance(child, nn.Embedding) and not embeddings):
            continue
        weight = child.weight.detach()
        if isinstance(child, nn.Embedding):
            module.set_submodule(name, Int8Embedding(*quantize_weight(f"{name}.weight", weight)))
            continue
        if round_weight is not None:
            q, scale = round_weight(f"{name}.weight", weight)
        else:
            q, scale = quantize_weight(f"{name}.weight", weight, per_channel, how.weight_levels)
        none = torch.zeros(child.out_features)
        bias = none if child.bias is None else child.bias.detach().clone()
        span = ranges[name] if ranges is not None else None
        module.set_submodule(name, Int8Linear(q, scale, bias, how, span))
    return module


def count(module: nn.Module) -> int:
    return len(layers(module, Int8Linear)) + len(layers(module, Int8Embedding))


def save(module: nn.Module, target: Path) -> None:
    """Write int8 as int8, everything else as it is, a static layer's range as `.range`.

    How activations are quantized, the same in all Linears, goes into the file's metadata.
    """
    tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
    how: Activations | None = None
    for name, layer in layers(module, Int8Linear).items():
        assert isinstance(layer, Int8Linear)
        assert how in (None, layer.how)
        how = layer.how
        if layer.span is not None:
            tensors[f"{name}.range"] = torch.tensor(layer.span, dtype=torch.float64)
    # One entry, because safetensors writes several in an order that changes from run to run.
    metadata = {"activations": json.dumps(asdict(how))} if how else None
    save_file(tensors, target, metadata)


def load(architecture: nn.Module, source: Path) -> nn.Module:
    """Fill `architecture` (an FP32 module with any weights) from what `save` wrote.

    Raises:
        UserError: the file belongs to another architecture, or does not say how to quantize.
    """
    with safe_open(source, "pt") as file:
        stored = (file.metadata() or {}).get("activations")
    how = Activations(**json.loads(stored)) if stored else None
    tensors = load_file(source)
    for name, child in {
        **layers(architecture, nn.Linear),
        **layers(architecture, nn.Embedding),
    }.items():
        weight = tensors.get(f"{name}.weight")
        if weight is None or weight.dtype != torch.int8:
            continue  # kept in fp32
        tensors.pop(f"{name}.weight")
        scale = tensors.pop(f"{name}.weight_scale")
        if isinstance(child, nn.Embedding):
            architecture.set_submodule(name, Int8Embedding(weight, scale))
            continue
        if how is None:
            raise UserError(
                f"{source} does not say how its activations are quantized, so an earlier version "
                "wrote it; run 'dvc repro' to build it anew"
            )
        span = tensors.pop(f"{name}.range", None)
        ends = None if span is None else Range(*span.tolist())
        bias = tensors.pop(f"{name}.bias")
        architecture.set_submodule(name, Int8Linear(weight, scale, bias, how, ends))
    rest = architecture.load_state_dict(tensors, strict=False)
    ours = {
        f"{name}.{buffer}"
        for name, child in architecture.named_modules()
        if isinstance(child, Int8Linear | Int8Embedding)
        for buffer, _ in child.named_buffers()
    }
    strange = sorted(set(rest.missing_keys) - ours) + rest.unexpected_keys
    if strange:
        raise UserError(
            f"{source} does not fit its config.json: they differ in {strange[:3]}; run "
            "'dvc repro' to build it anew"
        )
    return architecture
