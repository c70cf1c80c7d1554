"""Quantization-aware training: layers that round in the forward pass and learn in floating point.

As in Q8BERT (Zafrir et al., 2019, arXiv:1910.06188): Linear and Embedding weights symmetric in
8 bits, activations with ranges that follow an exponential moving average, gradients straight
through the rounding (Bengio et al., 2013). By swapping modules, because BERT does not trace.
Unlike there the activations are asymmetric, as our int8 layers compute them.
"""

import torch
from torch import Tensor, nn

from stages.engines.int8.layers import layers, quantize_layers, read_otherwise
from stages.engines.int8.quantizers import LEVELS, TINY, Activations, Range, affine


def round_weight(weight: Tensor, levels: int = LEVELS) -> Tensor:
    """Each row to its int8 grid and back; the gradient passes as if nothing had happened."""
    scale = (weight.detach().abs().amax(dim=-1, keepdim=True) / levels).clamp(min=TINY)
    rounded = torch.round(weight / scale) * scale
    return weight + (rounded - weight).detach()


class FakeQuantLinear(nn.Module):
    """y = x W' + b with W and x rounded as Int8Linear will round them.

    `low` and `high` are the running range of the input; both 0 before the first batch.
    """

    low: Tensor
    high: Tensor

    def __init__(self, linear: nn.Linear, bits: int, decay: float) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.how, self.decay = Activations("static", bits=bits), decay
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def follow(self, x: Tensor) -> None:
        low, high = torch.aminmax(x.detach())
        first = bool(self.low == self.high)
        decay = 0.0 if first else self.decay
        self.low.mul_(decay).add_(low, alpha=1 - decay)
        self.high.mul_(decay).add_(high, alpha=1 - decay)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.follow(x)
        scale, zero = affine(self.range(), self.how.steps)
        x = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, self.how.steps)
        weight = round_weight(self.weight, self.how.weight_levels)
        return nn.functional.linear(x, weight, self.bias)

    def range(self) -> Range:
        return Range(float(self.low), float(self.high))


class FakeQuantEmbedding(nn.Module):
    """Rows rounded as Int8Embedding will store them."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight, self.padding_idx = embedding.weight, embedding.padding_idx

    def forward(self, ids: Tensor) -> Tensor:
        return round_weight(nn.functional.embedding(ids, self.weight, self.padding_idx))


def prepare(module: nn.Module, bits: int, decay: float) -> nn.Module:
    """Swap each Linear and Embedding that is called, in place; weights keep their names.

    Args:
        bits: of the activations.
        decay: of the moving average; 0.99 looks back about 100 batches.
    """
    kept = read_otherwise(module)
    for name, child in layers(module, nn.Linear).items():
        assert isinstance(child, nn.Linear)
        if name not in kept:
            module.set_submodule(name, FakeQuantLinear(child, bits, decay))
    for name, child in layers(module, nn.Embedding).items():
        assert isinstance(child, nn.Embedding)
        if name not in kept:
            module.set_submodule(name, FakeQuantEmbedding(child))
    return module


def ranges(state: dict[str, Tensor]) -> dict[str, Range]:
    """Layer name -> range of its input, from the state of a prepared module."""
    names = [key.removesuffix(".low") for key in state if key.endswith(".low")]
    return {
        name: Range(float(state[f"{name}.low"]), float(state[f"{name}.high"])) for name in names
    }


def convert(architecture: nn.Module, state: dict[str, Tensor], bits: int) -> nn.Module:
    """The real int8 module that computes what the prepared one with this state simulated."""
    spans = ranges(state)
    ends = {f"{name}.{end}" for name in spans for end in ("low", "high")}
    architecture.load_state_dict({k: v for k, v in state.items() if k not in ends})
    how, keep = Activations("static", bits=bits), read_otherwise(architecture)
    return quantize_layers(architecture, how, embeddings=True, keep=keep, ranges=spans)
