"""An int8 Linear in ONNX's own operators, with the artifact's own weights."""

import torch
from torch import Tensor, nn


class IntegerLinear(nn.Module):
    """The base of every exported int8 Linear: `forward` says how its input is rounded.

    Only for export: Python gets zeros from `product`.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> None:
        """Take over a layer's weights.

        Args:
            weight: int8 (n, k).
            weight_scale: () or (n,).
            bias: float32 (n,), or None for zeros.
        """
        super().__init__()
        self.register_buffer("weight", weight.t().contiguous())
        self.register_buffer("weight_scale", weight_scale)
        none = torch.zeros(weight.shape[0])
        self.register_buffer("bias", none if bias is None else bias.detach())

    def product(self, q: Tensor, zero: Tensor | int) -> Tensor:
        """(q - zero) times the weights: whole numbers in 0..255, (..., k) -> float32 (..., n)."""
        sums = torch.onnx.ops.symbolic(
            "MatMulInteger",
            (q.to(torch.uint8), self.weight, torch.as_tensor(zero).to(torch.uint8)),
            dtype=torch.int32,
            shape=(*q.shape[:-1], self.weight.shape[1]),
        )
        return sums.to(torch.float32)
