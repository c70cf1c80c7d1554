"""Int8 weights in the order in which the kernel reads them."""

from typing import NamedTuple

import torch
from torch import Tensor

from stages.engines.safe_l.rounding import check_safe, padded


class Layout(NamedTuple):
    """What the kernel says of itself (dictionary.h).

    Attributes:
        panel: n is padded to whole panels of so many output channels.
        k_aligned: k is padded to a multiple of it.
        activation_steps, lane_limit: what this file derives as PER_TOKEN.steps and LANE_LIMIT.
    """

    panel: int
    k_aligned: int
    activation_steps: int
    lane_limit: int


def layout() -> Layout:
    """Of the kernel that `choose_kernel` of dispatch.py has loaded."""
    return Layout(*torch.ops.int8_fast.layout())


def pack(weight: Tensor, products: int) -> Tensor:
    """Int8 (n, k) in the order of the kernel's panels, THE LAYOUT in int8_linear.h; one dimension.

    Raises:
        ValueError: it is not safe for S = `products`.
    """
    check_safe(weight, products)
    (n, k), (panel, k_aligned, *_) = weight.shape, layout()
    weight = torch.nn.functional.pad(weight, (0, padded(k, k_aligned) - k, 0, padded(n, panel) - n))
    panels = weight.view(len(weight) // panel, panel, weight.shape[1] // 4, 4).transpose(1, 2)
    return panels.reshape(weight.numel())
