"""One int8 Linear in torch, with per-token activations of 7 bits: on our operators or torch's."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from stages.engines.int8.layers import Int8Linear
from stages.engines.int8.quantizers import dynamic_range
from stages.engines.runtime import packed_file
from stages.engines.safe_l.rounding import PER_TOKEN

LIBRARY = "library"  # the kernel that is torch's own
Activation = Literal["none", "gelu", "relu"]
# What stands for the kernel's own where the library multiplies.
AFTER: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": torch.nn.Identity(),
    "gelu": torch.nn.functional.gelu,
    "relu": torch.relu,
}


class Packed(NamedTuple):
    """A Linear as the packed file holds it.

    Attributes:
        weight: int8 (panels, padded k / 4, 16, 4), THE LAYOUT in int8_linear.h.
        channels: float32 (3, padded n): scale of the weights, their sum times it, bias.
        products: S, which the weights are safe for (see rounding.py).
    """

    weight: Tensor
    channels: Tensor
    n: int
    k: int
    products: int

    @classmethod
    def of(cls, weight: Tensor, scale: Tensor, bias: Tensor, products: int) -> "Packed":
        """Args:
        weight: int8 (n, k), safe for S = `products`.
        scale, bias: float32 (n,).
        """
        n, k = weight.shape
        sums = weight.sum(1, dtype=torch.int32).double() * scale.double()
        channels = torch.zeros(3, packed_file.round_up(n, packed_file.PANEL))
        channels[:, :n] = torch.stack([scale, sums.float(), bias])
        panels = packed_file.pack(packed_file.padded_rows([weight.numpy()]))
        return cls(torch.from_numpy(panels.copy()), channels, n, k, products)


class FastLinear:
    """y = activation(x W' + b): float32 (rows, k) -> float32 (rows, n).

    A row of x that holds NaN or infinity gives a row of NaN.
    """

    def __init__(self, packed: Packed, kernel: str, activation: Activation = "none") -> None:
        """Args:
        kernel: instruction set of torch.ops.int8_fast, or LIBRARY.
        """
        self.packed, self.kernel, self.activation = packed, kernel, activation
        if kernel == LIBRARY:
            n, k = packed.n, packed.k
            weight = torch.from_numpy(packed_file.unpack(packed.weight.numpy())[:n, :k].copy())
            scale, _, bias = packed.channels[:, :n]
            self.library = library_linear(weight, scale, bias)

    def __call__(self, x: Tensor) -> Tensor:
        if self.kernel == LIBRARY:
            return AFTER[self.activation](self.library(x))
        weight, channels, n, k, products = self.packed
        y: Tensor = torch.ops.int8_fast.linear(
            x, weight, channels, n, k, products, self.kernel, self.activation
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
