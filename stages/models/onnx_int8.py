"""Exporting a module with int8 layers, its Linears in ONNX's own operators."""

from pathlib import Path

import torch
from torch import Tensor, nn

from stages.models.classifier import write_onnx, write_torchscript
from stages.models.int8 import Int8Linear, layers
from stages.models.quantizers import affine, dynamic_range


class OnnxInt8Linear(nn.Module):
    """What Int8Linear computes, around MatMulInteger. Python gets zeros from its product."""

    weight: Tensor
    weight_scale: Tensor
    weight_sum: Tensor
    bias: Tensor

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__()
        self.how, self.span = layer.how, layer.span
        self.register_buffer("weight", layer.weight.t().contiguous())
        for name in ("weight_scale", "weight_sum", "bias"):
            self.register_buffer(name, getattr(layer, name))

    def forward(self, x: Tensor) -> Tensor:
        steps = self.how.steps
        if self.span is not None:
            scale, zero = affine(self.span, steps)
            q = torch.round(x / scale).add(zero).clamp(0, steps)
            return self.product(q, zero) * (self.weight_scale * scale) + self.bias
        low, step = dynamic_range(x, self.how)
        q = torch.round((x - low) / step).clamp(0, steps)
        y = self.product(q, 0) * self.weight_scale * step
        return y + low * self.weight_sum + self.bias

    def product(self, q: Tensor, zero: int) -> Tensor:
        sums = torch.onnx.ops.symbolic(
            "MatMulInteger",
            (q.to(torch.uint8), self.weight, torch.tensor(zero, dtype=torch.uint8)),
            dtype=torch.int32,
            shape=(*q.shape[:-1], self.weight.shape[1]),
        )
        return sums.to(torch.float32)


def with_onnx_layers(module: nn.Module) -> nn.Module:
    """Replace the int8 Linears in place by their ONNX form; the other layers export as they are."""
    for name, layer in layers(module, Int8Linear).items():
        assert isinstance(layer, Int8Linear)
        module.set_submodule(name, OnnxInt8Linear(layer))
    return module


def export_int8(module: nn.Module, inputs: list[str], folder: Path) -> list[str]:
    """Write `model.pt` and `model.onnx`; `module` is of no further use."""
    write_torchscript(module, inputs, folder / "model.pt")
    write_onnx(with_onnx_layers(module), inputs, folder / "model.onnx")
    return ["model.pt", "model.onnx"]
