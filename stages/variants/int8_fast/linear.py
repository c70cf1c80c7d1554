"""One int8 Linear with per-token activations of 7 bits, on whichever kernel this CPU runs best."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from stages.engines.int8.layers import Int8Linear
from stages.engines.int8.quantizers import dynamic_range
from stages.engines.safe_l.rounding import PER_TOKEN, padded, safe_products
from stages.variants.int8_fast.kernel.dispatch import choose_kernel
from stages.variants.int8_fast.packing import layout, pack

Activation = Literal["none", "gelu", "relu"]
# What stands for the kernel's own where the library multiplies.
AFTER: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": torch.nn.Identity(),
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
}


class FastLinear:
    """y = activation(x W' + b): float32 (rows, k) -> float32 (rows, n).

    A row of x that holds NaN or infinity gives a row of NaN.
    """

    def __init__(
        self,
        weight: Tensor,
        scale: Tensor,
        bias: Tensor,
        products: int | None = None,
        activation: Activation = "none",
    ) -> None:
        """Pack for the kernel that `choose_kernel` names.

        Args:
            weight: int8 (n, k).
            scale, bias: float32 (n,).
            products: S (see rounding.py); None takes the largest that the weights allow.

        Raises:
            ValueError: with that S some input would overflow an int16.
        """
        self.n, self.k = weight.shape
        self.activation = activation
        self.kernel = choose_kernel()
        if self.kernel == "library":
            self.library = library_linear(weight, scale, bias)
            return
        self.products = safe_products(weight) if products is None else products
        self.packed = pack(weight, self.products)
        sums = (weight.sum(1, dtype=torch.int32).double() * scale.double()).float()
        self.channels = torch.zeros(3, padded(self.n, layout().panel))
        self.channels[:, : self.n] = torch.stack([scale, sums, bias])

    def __call__(self, x: Tensor) -> Tensor:
        if self.kernel == "library":
            return AFTER[self.activation](self.library(x))
        y: Tensor = torch.ops.int8_fast.linear(
            x,
            self.packed,
            self.channels,
            self.n,
            self.k,
            self.products,
            self.kernel,
            self.activation,
        )
        return y


def library_linear(weight: Tensor, scale: Tensor, bias: Tensor) -> nn.Module:
    """FBGEMM where torch has it, otherwise torch's plain int8 product."""
    if "fbgemm" in torch.backends.quantized.supported_engines:
        return Int8Linear(weight, scale, bias, PER_TOKEN, None)
    return PlainLinear(weight, scale, bias)


class PlainLinear(nn.Module):
    """What Int8Linear computes, for CPUs without FBGEMM."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.scale, self.bias = weight.t().contiguous(), scale, bias
        self.sums = (weight.double().sum(1) * scale.double()).float()

    def forward(self, x: Tensor) -> Tensor:
        low, step = dynamic_range(x, PER_TOKEN)
        q = torch.round((x - low) / step).clamp(0, PER_TOKEN.steps).to(torch.int8)
        product = torch._int_mm(q, self.weight).float()
        return product * self.scale * step + low * self.sums + self.bias
