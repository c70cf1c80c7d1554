"""Our int8 Linears in ONNX's own operators."""

import torch
from torch import Tensor, nn

from stages.engines.int8.layers import Int8Linear, layers
from stages.engines.int8.quantizers import affine, dynamic_range
from stages.engines.onnx.integer_linear import IntegerLinear


class OnnxInt8Linear(IntegerLinear):
    """What Int8Linear computes."""

    weight_sum: Tensor

    def __init__(self, layer: Int8Linear) -> None:
        super().__init__(layer.weight, layer.weight_scale, layer.bias)
        self.how, self.span = layer.how, layer.span
        self.register_buffer("weight_sum", layer.weight_sum)

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


def with_onnx_linears(module: nn.Module) -> nn.Module:
    """Replace the int8 Linears in place by their ONNX form; the other layers export as they are."""
    for name, layer in layers(module, Int8Linear).items():
        assert isinstance(layer, Int8Linear)
        module.set_submodule(name, OnnxInt8Linear(layer))
    return module
