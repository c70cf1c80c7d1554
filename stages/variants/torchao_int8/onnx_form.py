"""torchao's int8 Linears in ONNX's own operators."""

from typing import Any

import torch
from torch import Tensor, nn

from stages.engines.onnx.integer_linear import IntegerLinear
from stages.variants.torchao_int8.layers import quantized_linears


class OnnxTorchaoLinear(IntegerLinear):
    """What torchao's Linear computes."""

    def __init__(self, linear: Any) -> None:
        super().__init__(linear.weight.qdata, linear.weight.scale.flatten(), linear.bias)
        self.low, self.high = (-64, 63) if linear.weight.reduce_range else (-128, 127)

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(dim=-1, keepdim=True) / ((self.high - self.low) / 2)
        scale = scale.clamp(min=torch.finfo(torch.float32).eps)
        q = torch.round(x * (1.0 / scale)).clamp(self.low, self.high)
        # ONNX Runtime is fast for unsigned activations only, so zero lies at -low.
        return self.product(q - self.low, -self.low) * scale * self.weight_scale + self.bias


def with_onnx_linears(module: nn.Module) -> nn.Module:
    """Replace the int8 Linears in place by their ONNX form."""
    for name, linear in quantized_linears(module).items():
        module.set_submodule(name, OnnxTorchaoLinear(linear))
    return module
