"""Rounding to int8: scales, zero points and ranges. Pure functions on tensors.

Weights are symmetric: w = scale * q, one scale per output channel (or per tensor). Activations are
affine with `bits` bits: x = low + scale * q, q in 0..2**bits - 1, where `low` and `scale` belong to

    per_token   one row (the most accurate; another text in the batch changes nothing),
    per_tensor  the whole batch, as torch's quantize_dynamic and ONNX Runtime do it,
    static      the layer: found beforehand on training rows, nothing is measured at run time.

Without VNNI a CPU adds two u8 x s8 products in int16, which 8 bits on both sides overflow:
2 * 255 * 127 > 32767. So one side gets 7 bits, and every CPU gives the same answers: activations
with 7 bits and weights in -127..127, as torch does, or activations with 8 and weights in -63..63.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from stages.model.classifier import check_finite
from stages.plumbing.command import UserError

LEVELS = 127  # of a weight, on each side of zero
INT16_MAX = 32767
TINY = torch.finfo(torch.float32).tiny

Granularity = Literal["per_token", "per_tensor", "static"]


class Range(NamedTuple):
    """What a static layer expects of its input."""

    low: float
    high: float


@dataclass(frozen=True)
class Activations:
    """How the input of an int8 Linear is quantized.

    Attributes:
        symmetric: low = -high, so that zero lies in the middle; per_token and per_tensor only.
    """

    granularity: Granularity
    symmetric: bool = False
    bits: int = 7

    @property
    def steps(self) -> int:
        return 2**self.bits - 1

    @property
    def weight_levels(self) -> int:
        """Of the weights beside them, so that two products never overflow an int16."""
        return LEVELS if 2 * self.steps * LEVELS <= INT16_MAX else LEVELS // 2


def quantize_weight(
    name: str, weight: Tensor, per_channel: bool = True, levels: int = LEVELS
) -> tuple[Tensor, Tensor]:
    """Weight of shape (channels, n) -> int8 of the same shape, and float32 scales (channels,).

    Args:
        levels: on each side of zero.

    Raises:
        UserError: NaN or infinity.
    """
    check_finite(name, weight)
    weight = weight.float()
    rows = weight if per_channel else weight.reshape(1, -1)
    largest = rows.abs().amax(dim=1) if rows.shape[1] else torch.zeros(rows.shape[0])
    # A row of zeros has any scale; the smallest normal float keeps denormals from dividing by 0.
    scale = (largest / levels).clamp(min=TINY).expand(weight.shape[0]).contiguous()
    q = torch.round(weight / scale[:, None]).clamp(-levels, levels).to(torch.int8)
    return q, scale


def affine(span: Range, steps: int) -> tuple[float, int]:
    """Scale and zero point in 0..steps with which `span`, widened to hold zero, is covered.

    Raises:
        UserError: NaN, infinity, or ends in the wrong order.
    """
    low, high = min(span.low, 0.0), max(span.high, 0.0)
    if not (span.low <= span.high and high - low < float("inf")):
        raise UserError(
            f"an activation range of {span.low} to {span.high} cannot be quantized; calibrate "
            "anew with 'dvc repro', on finite weights"
        )
    scale = max((high - low) / steps, TINY)
    return scale, min(max(round(-low / scale), 0), steps)


def dynamic_range(x: Tensor, how: Activations) -> tuple[Tensor, Tensor]:
    """Offset and scale of a non-empty input: shape (..., 1) per token, () per tensor."""
    per_token = how.granularity == "per_token"
    # Not aminmax for the whole tensor, which the ONNX exporter does not know.
    low, high = torch.aminmax(x, dim=-1, keepdim=True) if per_token else (x.min(), x.max())
    if how.symmetric:
        # One level less, so that zero itself is a level, as in any symmetric scheme.
        high = torch.maximum(-low, high)
        step = (high / (how.steps // 2)).clamp(min=TINY)
        return -step * (how.steps // 2), step
    return low, ((high - low) / how.steps).clamp(min=TINY)
