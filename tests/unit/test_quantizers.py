"""Rounding to int8, on whatever Hypothesis finds; Int8Linear against whole numbers and float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from stages.models.int8 import Int8Linear, quantize_layers
from stages.models.quantizers import (
    LEVELS,
    TINY,
    Activations,
    Granularity,
    Range,
    affine,
    check_finite,
    dynamic_range,
    quantize_weight,
)
from stages.plumbing.command import UserError

SETTINGS = settings(max_examples=50, deadline=None, derandomize=True)

UNIT = 2.0**-24  # largest relative error of one float32 rounding
NAN, INFINITY = float("nan"), float("inf")

DYNAMIC = [
    Activations(granularity, symmetric, bits)
    for granularity in ("per_token", "per_tensor")
    for symmetric in (False, True)
    for bits in (7, 8)
]
STATIC = [Activations("static", bits=bits) for bits in (7, 8)]


def described(how: Activations) -> str:
    return f"{how.granularity}-{'symmetric' if how.symmetric else 'asymmetric'}-{how.bits}bit"


def finite(largest: float) -> st.SearchStrategy[float]:
    """float32 of either sign, denormals among them."""
    bound = float(np.float32(largest))
    return st.floats(-bound, bound, width=32)


def matrices(largest: float) -> st.SearchStrategy[Tensor]:
    shapes = st.tuples(st.integers(1, 5), st.integers(1, 20))
    return arrays(np.float32, shapes, elements=finite(largest)).map(torch.from_numpy)


WEIGHTS = matrices(torch.finfo(torch.float32).max)
# high - low must fit in float32.
INPUTS = matrices(1e38)

OUTLIER = torch.tensor([[1e30, 1.0, -2.0, 0.0], [0.5, 1.0, -2.0, 0.0]])
DENORMALS = torch.tensor([[1e-45, -1e-40, 0.0], [1e-38, -1e-38, 2e-38]])


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


# ---- Int8Linear

KINDS = ["normal", "constant", "zeros", "positive", "negative", "outlier"]
# What two products may add up to in the int16 of a CPU without VNNI: 2 * 255 * 64 < 2**15.
LARGEST_WEIGHT = {7: 127, 8: 64}


class Case:
    """A random layer and its input, of random shape.

    Attributes:
        q, scale, bias: int8 (channels, k), float32 (channels,) twice.
        x: float32 (..., k) of one of KINDS.
    """

    def __init__(self, channels: int, k: int, leading: tuple[int, ...], seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.q = torch.randint(-127, 128, (channels, k), generator=self.random).to(torch.int8)
        self.scale = 0.01 * (0.1 + torch.rand(channels, generator=self.random))
        self.bias = torch.randn(channels, generator=self.random)
        self.x = torch.randn(*leading, k, generator=self.random)

    def of(self, kind: str, magnitude: float) -> "Case":
        if kind == "constant":
            self.x[:] = self.x.flatten()[0]
        elif kind == "zeros":
            self.x[:] = 0
        elif kind == "positive":
            self.x = 5 + self.x.abs()
        elif kind == "negative":
            self.x = -5 - self.x.abs()
        elif kind == "outlier":
            self.x.view(-1)[-1] = 1e4
        self.x *= magnitude
        return self

    def layer(self, how: Activations, span: Range | None = None) -> Int8Linear:
        limit = LARGEST_WEIGHT[how.bits]
        self.q = self.q.clamp(-limit, limit)
        return Int8Linear(self.q, self.scale, self.bias, how, span)


CASES = st.builds(
    Case.of,
    st.builds(
        Case,
        channels=st.integers(1, 70),
        k=st.integers(1, 70),
        leading=st.sampled_from([(1,), (4,), (2, 3), (2, 1, 2)]),
        seed=st.integers(0, 2**32),
    ),
    kind=st.sampled_from(KINDS),
    magnitude=st.sampled_from([1e-3, 1.0, 1e3]),
)


def assert_product(y: Tensor, case: Case, levels: Tensor, low: Tensor, step: Tensor) -> None:
    """`y` is sum_k x_k w_k + b with x = low + step * levels and w = scale * q.

    The product of the levels is made of whole numbers, the rest of float64; `y` may differ by 1e-5
    of the largest of the terms that float32 has to add.
    """
    whole = levels.long() @ case.q.long().T
    product = step.double() * whole * case.scale.double()
    offset = low.double() * (case.q.long().sum(1) * case.scale.double())
    bias = case.bias.double()
    assert y.dtype == torch.float32
    assert y.shape == (*levels.shape[:-1], len(case.q))
    allowed = 1e-5 * torch.stack(torch.broadcast_tensors(product, offset, bias)).abs().amax(0)
    assert ((y.double() - (product + offset + bias)).abs() <= allowed).all()


@pytest.mark.parametrize("how", DYNAMIC, ids=described)
@SETTINGS
@given(case=CASES)
@example(case=Case(1, 1, (1,), 0))
@example(case=Case(1, 64, (3,), 0).of("outlier", 1.0))
@example(case=Case(33, 1, (2, 3), 0).of("constant", 1.0))
def test_a_dynamic_layer_equals_whole_numbers(how: Activations, case: Case) -> None:
    low, step = dynamic_range(case.x, how)
    levels = torch.round((case.x - low) / step)  # half to even, as FBGEMM
    assert_product(case.layer(how)(case.x), case, levels, low, step)


@pytest.mark.parametrize("how", STATIC, ids=described)
@SETTINGS
@given(case=CASES, low=st.floats(-10, 0.5), extent=st.floats(0, 20))
@example(case=Case(1, 1, (1,), 0), low=0.0, extent=0.0)
@example(case=Case(17, 33, (2, 3), 0), low=-10.0, extent=1.0)
def test_a_static_layer_equals_whole_numbers(
    how: Activations, case: Case, low: float, extent: float
) -> None:
    span = Range(low, low + extent)
    scale, zero = affine(span, how.steps)
    levels = torch.randint(0, how.steps + 1, case.x.shape, generator=case.random)
    # Not at the middle between two levels, where float32 decides.
    jitter = 0.9 * torch.rand(case.x.shape, generator=case.random, dtype=torch.float64) - 0.45
    x = ((levels - zero + jitter) * scale).float()
    offset, step = torch.tensor([-zero * scale, scale], dtype=torch.float64)
    assert_product(case.layer(how, span)(x), case, levels, offset, step)


@pytest.mark.parametrize("how", STATIC, ids=described)
@SETTINGS
@given(case=CASES)
def test_a_static_layer_clips_to_the_ends_of_its_range(how: Activations, case: Case) -> None:
    span = Range(-1.0, 2.0)
    scale, zero = affine(span, how.steps)
    layer = case.layer(how, span)
    ends = Range(-zero * scale, (how.steps - zero) * scale)
    assert (ends.low, ends.high) == pytest.approx(span, abs=scale / 2)
    assert torch.equal(layer(case.x), layer(case.x.clamp(*ends)))
    for far, level in [
        (-1e30, 0),
        (-INFINITY, 0),
        (1e30, how.steps),
        (INFINITY, how.steps),
    ]:
        offset, step = torch.tensor([ends.low, scale], dtype=torch.float64)
        levels = torch.full(case.x.shape, level)
        assert_product(layer(torch.full(case.x.shape, far)), case, levels, offset, step)


@pytest.mark.parametrize("how", DYNAMIC + STATIC, ids=described)
@SETTINGS
@given(case=CASES)
def test_all_zeros_come_out_as_the_bias(how: Activations, case: Case) -> None:
    layer = case.layer(how, Range(-0.3, 1.0) if how.granularity == "static" else None)
    y = layer(torch.zeros_like(case.x))
    torch.testing.assert_close(y, case.bias.expand_as(y), rtol=0, atol=1e-30)


@pytest.mark.parametrize("how", DYNAMIC, ids=described)
@SETTINGS
@given(case=CASES)
def test_a_layer_is_off_by_its_two_roundings_at_most(how: Activations, case: Case) -> None:
    weight = torch.randn(case.q.shape, generator=case.random)
    case.q, case.scale = quantize_weight("w", weight)
    if how.bits == 8:
        case.q, case.scale = case.q // 2, case.scale * 2
    y = case.layer(how)(case.x).double()
    x, weight, rounded = case.x.double(), weight.double(), case.q * case.scale.double()[:, None]
    _, step = dynamic_range(case.x, how)
    from_weights = x.abs() @ (weight - rounded).abs().T
    from_activations = 0.5 * step.double() * rounded.abs().sum(1)
    expected = x @ weight.T + case.bias.double()
    largest = x.abs().amax() * weight.abs().sum(1) + case.bias.abs()
    allowed = from_weights + from_activations + 1e-4 * largest
    assert ((y - expected).abs() <= allowed).all()


@pytest.mark.parametrize("symmetric", [False, True])
@SETTINGS
@given(case=CASES)
def test_per_token_a_texts_answer_does_not_depend_on_its_batch(symmetric: bool, case: Case) -> None:
    layer = case.layer(Activations("per_token", symmetric))
    rows = case.x.flatten(0, -2)
    together = layer(rows)
    assert torch.equal(layer(case.x).flatten(0, -2), together)
    for row in range(len(rows)):
        assert torch.equal(layer(rows[row : row + 1])[0], together[row])


def test_per_tensor_a_texts_answer_depends_on_its_batch() -> None:
    case = Case(8, 32, (2,), seed=0)
    layer = case.layer(Activations("per_tensor"))
    case.x[1] *= 100
    assert not torch.allclose(layer(case.x)[0], layer(case.x[:1])[0], atol=1e-3)


@pytest.mark.parametrize("bits", [7, 8])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_products_do_not_overflow(bits: int, sign: int) -> None:
    if bits == 8 and not torch.cpu._is_vnni_supported():
        pytest.skip("8-bit activations overflow int16 on this CPU, which has no VNNI")
    q = torch.full((5, 64), sign * LEVELS, dtype=torch.int8)
    how = Activations("static", bits=bits)
    layer = Int8Linear(q, torch.ones(5), torch.zeros(5), how, Range(0.0, how.steps))
    y = layer(torch.full((2, 64), float(how.steps)))
    assert (y == sign * 64 * how.steps * LEVELS).all()


@pytest.mark.parametrize("granularity", ["per_token", "static"])
def test_no_rows_in_no_rows_out(granularity: Granularity) -> None:
    span = Range(-1.0, 1.0) if granularity == "static" else None
    layer = Case(5, 7, (1,), seed=0).layer(Activations(granularity), span)
    assert layer(torch.ones(0, 7)).shape == (0, 5)
    assert layer(torch.ones(2, 0, 7)).shape == (2, 0, 5)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("k", [1, 7, 33])
def test_per_token_a_broken_activation_shows_in_its_row_only(
    k: int, value: float, symmetric: bool
) -> None:
    case = Case(5, k, (3,), seed=0)
    layer = case.layer(Activations("per_token", symmetric))
    sound = layer(case.x)
    case.x[1, k // 2] = value
    y = layer(case.x)
    assert not torch.isfinite(y[1]).any()
    assert torch.equal(y[[0, 2]], sound[[0, 2]])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_per_tensor_a_broken_activation_shows_in_the_whole_batch(
    value: float, symmetric: bool
) -> None:
    case = Case(5, 7, (3,), seed=0)
    case.x[1, 3] = value
    assert not torch.isfinite(case.layer(Activations("per_tensor", symmetric))(case.x)).any()


def test_packing_leaves_torchs_engine_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.quantized, "engine", "onednn")
    Case(5, 7, (1,), seed=0).layer(Activations("per_token"))
    assert torch.backends.quantized.engine == "onednn"


@pytest.fixture
def fbgemm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.quantized, "engine", "fbgemm")


@pytest.mark.usefixtures("fbgemm")
@pytest.mark.parametrize("shift", [0.0, 3.0, -3.0])
@pytest.mark.parametrize(("channels", "k"), [(1, 1), (5, 16), (32, 70)])
def test_per_tensor_is_within_one_activation_step_of_torchs_quantize_dynamic(
    channels: int, k: int, shift: float
) -> None:
    from torch.ao.quantization import quantize_dynamic

    torch.manual_seed(0)
    linear, x = nn.Linear(k, channels), torch.randn(2, 3, k) + shift
    module = quantize_dynamic(nn.Sequential(linear), {nn.Linear}, dtype=torch.qint8)
    weight = module[0].weight()  # torch's own, so that only the activations differ
    scale = torch.full((channels,), weight.q_scale())
    ours = Int8Linear(
        weight.int_repr(), scale, linear.bias.detach(), Activations("per_tensor"), None
    )
    low, high = min(x.min().item(), 0), max(x.max().item(), 0)  # torch widens to zero
    step = (high - low) / 127
    allowed = step * weight.dequantize().abs().sum(1) + 1e-5
    assert ((ours(x) - module(x)).abs() <= allowed).all()


@pytest.mark.parametrize(("bits", "levels"), [(7, 127), (8, 63)])
def test_two_products_never_overflow_an_int16(bits: int, levels: int) -> None:
    """What a CPU without VNNI adds up in 16 bits; so its answers are those of any other CPU."""
    how = Activations("static", bits=bits)
    assert how.weight_levels == levels
    assert 2 * how.steps * how.weight_levels <= 32767
    linear = nn.Sequential(nn.Linear(40, 8))
    quantize_layers(linear, how, ranges={"0": Range(-1.0, 1.0)})
    assert int(dict(linear.named_buffers())["0.weight"].abs().max()) == levels
