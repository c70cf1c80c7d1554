"""Rounding to int8: weights, ranges of activations, on whatever Hypothesis finds."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from stages.engines.int8.quantizers import (
    LEVELS,
    TINY,
    Activations,
    Range,
    affine,
    dynamic_range,
    quantize_weight,
)
from stages.model.classifier import check_finite
from stages.plumbing.command import UserError
from tests.int8_cases import (
    DENORMALS,
    DYNAMIC,
    INFINITY,
    INPUTS,
    NAN,
    OUTLIER,
    SETTINGS,
    UNIT,
    WEIGHTS,
    described,
)

# ---- weights


@pytest.mark.parametrize("per_channel", [True, False])
@SETTINGS
@given(weight=WEIGHTS)
@example(weight=OUTLIER)
@example(weight=DENORMALS)
@example(weight=torch.zeros(2, 3))
@example(weight=torch.full((3, 2), -0.7))
def test_a_stored_weight_is_at_most_half_a_step_off(per_channel: bool, weight: Tensor) -> None:
    q, scale = quantize_weight("w", weight, per_channel)
    assert (q.dtype, q.shape) == (torch.int8, weight.shape)
    assert (scale.dtype, scale.shape) == (torch.float32, weight.shape[:1])
    assert (torch.isfinite(scale) & (scale >= TINY)).all()
    assert q.abs().max() <= LEVELS
    step = scale.double().unsqueeze(1)
    # A quotient of up to 127 is rounded to float32 before it is rounded to a whole number.
    half = step * (0.5 + (LEVELS + 1) * UNIT)
    assert ((weight.double() - step * q.double()).abs() <= half).all()


@SETTINGS
@given(weight=WEIGHTS)
def test_the_largest_weight_of_a_channel_takes_the_last_level(weight: Tensor) -> None:
    q, scale = quantize_weight("w", weight)
    for row, levels, step in zip(weight, q, scale, strict=True):
        if step > TINY:
            assert levels[row.abs().argmax()].abs() == LEVELS


@SETTINGS
@given(weight=WEIGHTS)
def test_the_other_sign_gives_the_same_levels_with_the_other_sign(weight: Tensor) -> None:
    q, scale = quantize_weight("w", weight)
    negated, same = quantize_weight("w", -weight)
    assert torch.equal(negated, -q)
    assert torch.equal(same, scale)


@SETTINGS
@given(weight=WEIGHTS)
def test_a_channel_does_not_depend_on_the_others(weight: Tensor) -> None:
    q, scale = quantize_weight("w", weight)
    for row in range(len(weight)):
        alone, step = quantize_weight("w", weight[row : row + 1])
        assert torch.equal(alone[0], q[row])
        assert torch.equal(step[0], scale[row])


@SETTINGS
@given(weight=WEIGHTS)
def test_per_tensor_all_channels_share_the_scale_of_the_largest(weight: Tensor) -> None:
    _, scale = quantize_weight("w", weight, per_channel=False)
    _, scales = quantize_weight("w", weight)
    assert torch.equal(scale, scales.max().expand(len(weight)))


def test_an_outlier_blinds_its_own_channel_only() -> None:
    q, _ = quantize_weight("w", OUTLIER)
    assert q.tolist() == [[127, 0, 0, 0], [32, 64, -127, 0]]


def test_a_row_of_zeros_stays_zero_beside_other_rows() -> None:
    q, scale = quantize_weight("w", torch.tensor([[0.0, 0.0], [1.0, -1.0]]))
    assert q.tolist() == [[0, 0], [127, -127]]
    assert scale.tolist() == pytest.approx([TINY, 1 / 127])


@pytest.mark.parametrize("value", [0.7, -0.7, 1e-30, 3e38])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_a_constant_survives(value: float, shape: tuple[int, int]) -> None:
    q, scale = quantize_weight("w", torch.full(shape, value))
    assert (q == int(math.copysign(LEVELS, value))).all()
    assert (scale.double() * LEVELS).tolist() == pytest.approx([abs(value)] * shape[0], rel=1e-6)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_weight_has_one_scale_per_channel(
    shape: tuple[int, int], per_channel: bool
) -> None:
    q, scale = quantize_weight("w", torch.ones(shape), per_channel)
    assert q.shape == shape
    assert scale.tolist() == [pytest.approx(TINY)] * shape[0]


@pytest.mark.parametrize(
    ("value", "kind"), [(NAN, "NaN"), (INFINITY, "infinity"), (-INFINITY, "infinity")]
)
def test_a_weight_that_no_integer_can_stand_for_is_refused(value: float, kind: str) -> None:
    weight = torch.ones(2, 3)
    weight[1, 2] = value
    for per_channel in (True, False):
        with pytest.raises(UserError, match=rf"^encoder\.w holds {kind} .*learning_rate"):
            quantize_weight("encoder.w", weight, per_channel)


def test_nan_and_infinity_together_are_called_nan() -> None:
    with pytest.raises(UserError, match="w holds NaN"):
        check_finite("w", torch.tensor([INFINITY, NAN]))


# ---- the range of a static layer


def spans(largest: float) -> st.SearchStrategy[Range]:
    ends = st.floats(-largest, largest)
    return st.tuples(ends, ends).map(lambda pair: Range(min(pair), max(pair)))


@pytest.mark.parametrize("steps", [127, 255])
@SETTINGS
@given(span=spans(3e38), share=st.floats(0, 1))
@example(span=Range(0.0, 0.0), share=0.0)
@example(span=Range(-5e-324, 5e-324), share=1.0)
@example(span=Range(2.0, 2.0), share=0.0)
@example(span=Range(-3.0, -1.0), share=0.5)
@example(span=Range(-1.0, 1e30), share=0.0)
def test_affine_covers_a_range_to_half_a_step_and_zero_exactly(
    steps: int, span: Range, share: float
) -> None:
    scale, zero = affine(span, steps)
    assert TINY <= scale < INFINITY
    assert isinstance(zero, int)
    assert 0 <= zero <= steps
    low, high = min(span.low, 0.0), max(span.high, 0.0)
    half = scale * (0.5 + 1e-12)  # float64 throughout
    for x in (low, high, low + share * (high - low), 0.0):
        q = min(max(round(x / scale) + zero, 0), steps)
        assert abs(scale * (q - zero) - x) <= (half if x else 0)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Range(0.0, 127.0), (1.0, 0)),
        (Range(-127.0, 0.0), (1.0, 127)),
        (Range(-27.0, 100.0), (1.0, 27)),
        (Range(50.0, 127.0), (1.0, 0)),  # widened to hold zero
        (Range(-127.0, -50.0), (1.0, 127)),
        (Range(0.0, 0.0), (TINY, 0)),
    ],
)
def test_affine_by_hand(span: Range, expected: tuple[float, int]) -> None:
    assert affine(span, 127) == expected


@pytest.mark.parametrize(
    "span",
    [
        Range(NAN, 1.0),
        Range(-1.0, NAN),
        Range(NAN, NAN),
        Range(-INFINITY, 1.0),
        Range(-1.0, INFINITY),
        Range(INFINITY, INFINITY),
        Range(1.0, -1.0),
    ],
)
def test_a_range_without_an_extent_is_refused(span: Range) -> None:
    with pytest.raises(UserError, match=rf"range of {span.low} to {span.high} .*dvc repro"):
        affine(span, 127)


# ---- ranges found at run time


@pytest.mark.parametrize("how", DYNAMIC, ids=described)
@SETTINGS
@given(x=INPUTS)
@example(x=OUTLIER)
@example(x=DENORMALS)
@example(x=torch.zeros(2, 3))
@example(x=torch.full((3, 2), -0.7))
def test_an_activation_is_at_most_half_a_step_off(how: Activations, x: Tensor) -> None:
    low, step = dynamic_range(x, how)
    assert low.shape == step.shape == ((len(x), 1) if how.granularity == "per_token" else ())
    assert (torch.isfinite(step) & (step >= TINY)).all()
    levels = torch.round((x - low) / step)
    assert ((levels >= 0) & (levels <= how.steps)).all()
    restored = low.double() + step.double() * levels.double()
    # Difference, quotient and step are rounded to float32.
    half = step.double() * (0.5 + 3 * how.steps * UNIT)
    assert ((restored - x.double()).abs() <= half).all()


@pytest.mark.parametrize("symmetric", [False, True])
@SETTINGS
@given(x=INPUTS)
@example(x=OUTLIER)
def test_per_token_a_row_does_not_depend_on_the_others(symmetric: bool, x: Tensor) -> None:
    how = Activations("per_token", symmetric)
    low, step = dynamic_range(x, how)
    for row in range(len(x)):
        alone = dynamic_range(x[row : row + 1], how)
        assert torch.equal(torch.cat(alone), torch.cat([low[row : row + 1], step[row : row + 1]]))


@pytest.mark.parametrize("symmetric", [False, True])
@SETTINGS
@given(x=INPUTS)
def test_per_tensor_is_per_token_of_all_values_in_one_row(symmetric: bool, x: Tensor) -> None:
    low, step = dynamic_range(x, Activations("per_tensor", symmetric))
    one_row = dynamic_range(x.reshape(1, -1), Activations("per_token", symmetric))
    assert (low.item(), step.item()) == (one_row[0].item(), one_row[1].item())


@pytest.mark.parametrize("bits", [7, 8])
@SETTINGS
@given(x=INPUTS)
def test_a_symmetric_range_has_zero_in_its_middle(bits: int, x: Tensor) -> None:
    how = Activations("per_token", symmetric=True, bits=bits)
    low, step = dynamic_range(x, how)
    middle = how.steps // 2
    assert (torch.round((0 - low) / step) == middle).all()
    assert (torch.round((x - low) / step) <= 2 * middle).all()


def test_an_asymmetric_range_wastes_no_level() -> None:
    x = torch.tensor([[3.0, 5.0, 130.0]])
    low, step = dynamic_range(x, Activations("per_token"))
    assert (low.item(), step.item()) == (3.0, 1.0)
    low, step = dynamic_range(x, Activations("per_token", symmetric=True))
    assert (low.item(), step.item()) == pytest.approx((-130.0, 130 / 63))
