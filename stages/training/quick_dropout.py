"""Dropout for training on a CPU, where torch's own takes a tenth of a small BERT's step.

torch draws a random number for each element; here the 64 bits of one number decide for four.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

STEPS = 2**16  # p is rounded to 16 bits: 0.1 becomes 0.100006


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """As torch.nn.functional.dropout, seeded by torch.manual_seed too, but with other draws."""
    if not training or p == 0:
        return x
    if not x.is_cpu or inplace or not 0 < p < 1:
        return functional.dropout(x, p, training, inplace)
    dropped = min(round(p * STEPS), STEPS - 1)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    numbers = bits.view(torch.int16)[: x.numel()].view(x.shape)  # uniform in -STEPS/2 ...
    kept = numbers >= dropped - STEPS // 2
    return x * kept.to(x.dtype).mul_(STEPS / (STEPS - dropped))


class QuickDropout(TorchFunctionMode):
    """Within the block each call of torch.nn.functional.dropout is one of `dropout`."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        called = dropout if function is functional.dropout else function
        return called(*args, **(kwargs or {}))


@contextmanager
def quick_dropout(model: nn.Module) -> Iterator[None]:
    """Within the block all dropout is the quick one, that of the attention's weights included."""
    transformer: Any = model
    before = transformer.config._attn_implementation
    transformer.set_attn_implementation("eager")  # the others drop inside of one operator
    try:
        with QuickDropout():
            yield
    finally:
        transformer.set_attn_implementation(before)
