"""Linear layers that round as ibert's will, and its GELU, for training in floating point."""

import torch
from torch import Tensor, nn

from stages.engines.ibert.reference import GELU, GELU_END, STEPS
from stages.engines.int8.quantizers import LEVELS, TINY
from stages.engines.safe_l import rounding


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, whose gradient is that of x (Bengio et al., 2013)."""
    return x + (rounded - x).detach()


class RoundedLinear(nn.Module):
    """y = x W' + b: rows of x in 7 bits, each with a scale of its own, W on the grid of safe-L."""

    scale: Tensor

    def __init__(self, linear: nn.Linear, safe: rounding.Safe) -> None:
        """Args:
        safe: the weights as they are quantized before training, whose scales are kept during it.
        """
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.register_buffer("scale", safe.scale[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        low, high = torch.aminmax(x.detach(), dim=-1, keepdim=True)
        step = ((high.clamp(min=0) - low.clamp(max=0)) / STEPS).clamp(min=TINY)
        zero = torch.round(-low.clamp(max=0) / step)
        q = (torch.round(x.detach() / step) + zero).clamp(0, STEPS)
        levels = torch.round(self.weight.detach() / self.scale).clamp(-LEVELS, LEVELS)
        return nn.functional.linear(
            straight_through(x, (q - zero) * step),
            straight_through(self.weight, levels * self.scale),
            self.bias,
        )


class PolynomialGELU(nn.Module):
    """max(x, 0) - |x| d (c0 + c1 d + c2 d^2), d = 1 - |x| / 3.25, not below 0: docs/ibert.md."""

    def forward(self, x: Tensor) -> Tensor:
        size = x.abs().clamp(max=GELU_END)
        d = 1 - size / GELU_END
        c0, c1, c2 = (number / 2**15 for number in GELU)
        return x.clamp(min=0) - size * d * (c0 + d * (c1 + d * c2))


def prepare(module: nn.Module, weights: dict[str, rounding.Safe]) -> None:
    """Swap the layers named in `weights` and every GELU in place; names stay as they are."""
    for name, child in list(module.named_modules()):
        if name in weights:
            assert isinstance(child, nn.Linear)
            module.set_submodule(name, RoundedLinear(child, weights[name]))
        elif "gelu" in type(child).__name__.lower():
            module.set_submodule(name, PolynomialGELU())
