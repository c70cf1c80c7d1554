"""torch's int8 Linears in ONNX's own operators."""

import torch
from torch import Tensor, nn

from stages.engines.onnx.integer_linear import IntegerLinear
from stages.engines.torch_dynamic.layers import QuantizedLinear, quantized_linears, scales


class OnnxDynamicLinear(IntegerLinear):
    """What torch's dynamic Linear computes.

    Activations get 7 bits (0..127), as torch's default does: u8 x s8 products of 8-bit activations
    saturate in the int16 sums of CPUs without VNNI.
    """

    def __init__(self, linear: QuantizedLinear) -> None:
        weight, bias = linear._weight_bias()
        super().__init__(weight.int_repr(), scales(weight).float(), bias)

    def forward(self, x: Tensor) -> Tensor:
        low, high = x.min().clamp(max=0.0), x.max().clamp(min=0.0)
        scale = ((high - low) / 127.0).clamp(min=torch.finfo(torch.float32).eps)
        zero = torch.round(-low / scale).clamp(0, 127)
        q = (torch.round(x / scale) + zero).clamp(0, 127)
        return self.product(q, zero) * (scale * self.weight_scale) + self.bias


def with_onnx_linears(module: nn.Module) -> nn.Module:
    """Replace the quantized Linears in place by ones that ONNX knows, with the same weights."""
    for name, linear in quantized_linears(module).items():
        int8 = linear.weight().dtype == torch.qint8
        module.set_submodule(name, OnnxDynamicLinear(linear) if int8 else float_linear(linear))
    return module


def float_linear(linear: QuantizedLinear) -> nn.Linear:
    """In FP32, with the values of float16 weights."""
    weight, bias = linear._weight_bias()
    plain = nn.Linear(linear.in_features, linear.out_features, bias is not None)
    plain.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return plain
