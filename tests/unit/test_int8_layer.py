"""Int8Linear against whole numbers, float64 and torch's own quantize_dynamic."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from stages.engines.int8.layers import Int8Linear, quantize_layers
from stages.engines.int8.quantizers import (
    LEVELS,
    Activations,
    Granularity,
    Range,
    affine,
    dynamic_range,
    quantize_weight,
)
from tests.int8_cases import (
    DYNAMIC,
    INFINITY,
    NAN,
    SETTINGS,
    STATIC,
    described,
)

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
