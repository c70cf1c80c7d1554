"""Safe-L: int8 weights of which S products may be added in an int16, whatever the activations are.

Activations have 7 bits, 0..127. An int16 lane of the kernel ("THE BOUND" in int8_linear.h) adds
up the products of 2 S weights; it cannot overflow if the positive ones sum up to LANE_LIMIT at
most, and the negative ones likewise. Each output channel gets as many levels, 127 at most, as this
allows: a larger S is faster and leaves fewer levels.

Quantizing needs no kernel, so that it works on any machine.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stages.engines.int8.quantizers import INT16_MAX, LEVELS, TINY, Activations
from stages.model.classifier import check_finite

# S, the most first: vpmaddubsw results that are added in int16 before they are widened to int32.
PRODUCTS = (16, 8, 4, 2, 1)
PER_TOKEN = Activations("per_token", bits=7)
LANE_LIMIT = INT16_MAX // PER_TOKEN.steps  # 258


class Safe(NamedTuple):
    """A quantized weight matrix.

    Attributes:
        weight: int8 (n, k).
        scale: float32 (n,); weight * scale is the matrix.
        products: S that it is safe for.
        error: root mean square of what rounding changed, relative to that of the matrix.
    """

    weight: Tensor
    scale: Tensor
    products: int
    error: float


def padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def lanes(weight: Tensor, products: int) -> Tensor:
    """Shape (n, k) -> (n, lanes, 2 S): the weights that meet in one int16 of the kernel."""
    n, k = weight.shape
    # A step takes 4 inputs, two pairs; a lane gets the first pair, or the second, of S steps. Zeros
    # that the kernel pads further add nothing to it.
    inputs = 4 * products
    weight = torch.nn.functional.pad(weight, (0, padded(k, inputs) - k))
    groups = weight.view(n, weight.shape[1] // inputs, products, 2, 2).transpose(2, 3)
    return groups.reshape(n, 2 * groups.shape[1], 2 * products)


def lane_sums(weight: Tensor, products: int) -> Tensor:
    """Of each channel (n,): the largest sum of one sign in any lane."""
    values = lanes(weight, products)
    if values.numel() == 0:
        return torch.zeros(len(weight), dtype=torch.float64)
    one_sign = [values.clamp(min=0).sum(-1), (-values).clamp(min=0).sum(-1)]
    return torch.maximum(*one_sign).amax(1).double()


def safe_products(weight: Tensor) -> int:
    """The largest S that int8 weights (n, k) are safe for, whatever they were made for."""
    if not len(weight):
        return PRODUCTS[0]
    wide = weight.short()  # -128 has no negative in int8
    return next(s for s in PRODUCTS if lane_sums(wide, s).amax() <= LANE_LIMIT)


def check_safe(weight: Tensor, products: int) -> None:
    """The proof, on the integers themselves.

    Raises:
        ValueError: some input would overflow an int16.
    """
    worst = lane_sums(weight.short(), products).amax() if len(weight) else torch.zeros(())
    if worst > LANE_LIMIT:
        raise ValueError(
            f"weights of one int16 lane sum up to {int(worst)}, more than {LANE_LIMIT}: at "
            f"S={products} an activation of {PER_TOKEN.steps} would overflow it"
        )


def quantize_for(weight: Tensor, products: int) -> Safe:
    """Float32 (n, k) with the most levels per channel that S = `products` allows."""
    weight = weight.float()
    largest = weight.abs().amax(1) if weight.shape[1] else torch.zeros(len(weight))
    largest = largest.clamp(min=TINY)  # a row of zeros has any scale
    unit = weight / largest[:, None]
    # Rounding moves a lane by half a level per weight at most: from there down, level by level.
    start = (LANE_LIMIT + products) / lane_sums(unit, products).clamp(min=1e-30)
    levels = start.floor().clamp(max=LEVELS)
    todo = torch.arange(len(weight))
    while len(todo):
        q = torch.round(unit[todo] * levels[todo, None].float())
        over = lane_sums(q, products) > LANE_LIMIT
        todo = todo[over]
        levels[todo] -= 1
    scale = (largest / levels).float().clamp(min=TINY)
    q = torch.round(weight / scale[:, None]).clamp(-LEVELS, LEVELS)
    # Dividing by the rounded scale may tip a value over: one level less, until the proof holds.
    while (over := lane_sums(q, products) > LANE_LIMIT).any():
        levels[over] -= 1
        scale[over] = (largest[over] / levels[over]).float()
        q = torch.round(weight / scale[:, None]).clamp(-LEVELS, LEVELS)
    size = weight.double().square().sum().clamp(min=TINY)
    error = (q.double() * scale[:, None].double() - weight.double()).square().sum() / size
    return Safe(q.to(torch.int8), scale, products, float(error.sqrt()))


def quantize(name: str, weight: Tensor, max_error: float) -> Safe:
    """Float32 (n, k) for the largest S whose error is `max_error` at most, or else for S = 1.

    Raises:
        UserError: NaN or infinity.
    """
    check_finite(name, weight)
    for products in PRODUCTS:
        safe = quantize_for(weight, products)
        if safe.error <= max_error:
            break
    return safe
