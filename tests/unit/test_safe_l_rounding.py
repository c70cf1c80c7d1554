"""Safe-L: weights as exact as the bound allows, and proved on the integers."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.engines.safe_l.rounding import (
    LANE_LIMIT,
    PRODUCTS,
    check_safe,
    lane_sums,
    padded,
    quantize,
    quantize_for,
    safe_products,
)
from stages.plumbing.command import UserError

HUGE = torch.finfo(torch.float32).max
EVERY_S = pytest.mark.parametrize("products", PRODUCTS)
DISTRIBUTIONS = (
    "normal",
    "equal",
    "outliers",
    "zero rows",
    "one huge",
    "denormal",
    "largest float",
    "mixed",
)


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    n, k = draw(st.integers(1, 20)), draw(st.integers(1, 150))
    torch.manual_seed(draw(st.integers(0, 1000)))
    weight = torch.randn(n, k)
    kind = draw(st.sampled_from(DISTRIBUTIONS))
    if kind == "equal":
        weight = weight.sign()
    elif kind == "outliers":
        weight[torch.rand(n) < 0.3] *= 1e4
    elif kind == "zero rows":
        weight[torch.rand(n) < 0.5] = 0
    elif kind == "one huge":
        weight[0, k // 2] = 1e30
    elif kind == "denormal":
        weight *= 1e-40
    elif kind == "largest float":
        weight = weight.sign() * HUGE
    elif kind == "mixed":
        weight *= 10.0 ** torch.randint(-38, 38, (n, 1))
    return weight


@settings(max_examples=150, deadline=None)
@given(matrices(), st.sampled_from(PRODUCTS))
def test_whatever_the_weights_are_they_become_safe(weight: Tensor, products: int) -> None:
    safe = quantize_for(weight, products)
    check_safe(safe.weight, products)
    assert safe.weight.dtype == torch.int8
    assert safe.scale.isfinite().all()
    assert (safe.scale > 0).all()
    back = safe.weight.double() * safe.scale.double()[:, None]
    # No weight is further away than half a step, and one more where a value was tipped over.
    assert ((back - weight.double()).abs() <= 0.5001 * safe.scale.double()[:, None]).all()
    size = weight.double().norm()
    if size > 1e-18:  # below, the relative error means nothing
        assert math.isclose(safe.error, float((back - weight.double()).norm() / size), abs_tol=1e-9)


@settings(max_examples=60, deadline=None)
@given(matrices())
def test_more_products_never_give_more_levels(weight: Tensor) -> None:
    steps = [quantize_for(weight, products).scale for products in PRODUCTS]
    for coarse, fine in pairwise(steps):
        assert (fine <= coarse * (1 + 1 / 100)).all()  # one level of 127 may be lost to rounding


@EVERY_S
def test_each_channel_has_the_most_levels_that_are_safe(products: int) -> None:
    torch.manual_seed(products)
    weight = torch.cat([torch.randn(30, 130), torch.rand(10, 130), torch.randn(10, 130) ** 3])
    largest = weight.abs().amax(1, keepdim=True)
    most = torch.zeros(len(weight))
    for levels in range(1, 128):
        fits = lane_sums(torch.round(weight / largest * levels), products) <= LANE_LIMIT
        most[fits] = levels
    levels_got = torch.round(largest[:, 0] / quantize_for(weight, products).scale)
    assert (levels_got <= most).all()
    assert (levels_got >= most - 1).all()
    # One fewer where the rounded scale tips a value.
    assert (levels_got == most).float().mean() > 0.9


@EVERY_S
def test_lanes_are_those_of_the_kernel(products: int) -> None:
    """Of 4 inputs the first two meet in one int16, the last two in another, over S steps."""
    for at in range(128):
        weight = torch.zeros(1, 128, dtype=torch.int8)
        weight[0, at] = 100
        together = [
            other
            for other in range(128)
            if at // (4 * products) == other // (4 * products) and at % 4 // 2 == other % 4 // 2
        ]
        assert len(together) == 2 * products
        for other in range(128):
            pair = weight.long()
            pair[0, other] += 100
            assert int(lane_sums(pair, products)) == (200 if other in together else 100)


@EVERY_S
@pytest.mark.parametrize("k", [1, 5, 63, 64, 65, 130])
def test_lanes_are_the_same_however_far_the_kernel_pads(products: int, k: int) -> None:
    torch.manual_seed(k)
    weight = torch.randint(-127, 128, (30, k))
    for multiple in (64, 128, 256):
        wide = torch.nn.functional.pad(weight, (0, padded(k, multiple) - k))
        assert torch.equal(lane_sums(wide, products), lane_sums(weight, products))


def test_opposite_signs_do_not_make_up_for_each_other() -> None:
    """An activation may be 0 where a weight is negative."""
    weight = torch.tensor([[127, 127, 0, 0, 127, -127, 0, 0] * 8], dtype=torch.int8)
    assert int(lane_sums(weight.long(), 2)) == 3 * 127
    with pytest.raises(ValueError, match="sum up to 381, more than 258: at S=2"):
        check_safe(weight, 2)


@EVERY_S
def test_int8_smallest_number_counts_too(products: int) -> None:
    weight = torch.full((1, 64), -128, dtype=torch.int8)
    assert safe_products(weight) == 1
    if products > 1:
        with pytest.raises(ValueError, match="would overflow"):
            check_safe(weight, products)


@EVERY_S
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_layers_without_weights(products: int, shape: tuple[int, int]) -> None:
    safe = quantize_for(torch.zeros(shape), products)
    assert safe.weight.shape == shape
    assert safe.scale.shape == shape[:1]
    assert safe.error == 0
    check_safe(safe.weight, products)
    assert safe_products(safe.weight) == PRODUCTS[0]


def test_the_largest_s_within_the_error_is_taken() -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 768)
    errors = [quantize_for(weight, products).error for products in PRODUCTS]
    assert errors == sorted(errors, reverse=True)
    for products, error in zip(PRODUCTS, errors, strict=True):
        assert quantize("w", weight, error).products == products
    assert quantize("w", weight, 0.0).products == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"layer\.0 holds"):
        quantize("layer.0", torch.tensor([[1.0, value]]), 0.03)
