"""One layer of int8_fast: right for every row, whatever else is in the batch."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stages.engines.safe_l.rounding import PRODUCTS, quantize_for
from stages.variants.int8_fast.linear import (
    AFTER,
    Activation,
    FastLinear,
    PlainLinear,
    library_linear,
)
from tests.fast_layer import fast_layer

TINY = torch.finfo(torch.float32).tiny
ACTIVATIONS = tuple(AFTER)
THREADS = pytest.mark.parametrize("threads", [1, 2])


def layer(kernel: str, n: int, k: int, products: int = 8, act: Activation = "none") -> FastLinear:
    torch.manual_seed(n + k)
    safe = quantize_for(torch.randn(n, k) / math.sqrt(k), products)
    made = fast_layer(kernel, safe.weight, safe.scale, torch.randn(n), products, act)
    made.parts = safe.weight, safe.scale, made.packed.channels[2, :n]  # type: ignore[attr-defined]
    return made


def quantized(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integers, offsets and scales of each row, as int8_linear.h says."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    scale = ((high / 2 - low / 2) / 63.5).clamp(min=TINY)
    q = torch.round((x / 2 - low / 2) * (2 / scale)).clamp(0, 127)
    return q.double(), low.double(), scale.double()


def expected(made: FastLinear, x: Tensor) -> Tensor:
    """In float64, of the same integers."""
    weight, scale, bias = (part.double() for part in made.parts)  # type: ignore[attr-defined]
    q, low, step = quantized(x)
    y = (low + step * q) @ (weight * scale[:, None]).T + bias
    return AFTER[made.activation](y)


def close(got: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(got.double(), right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("products", PRODUCTS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 100), (70, 48, 64), (30, 17, 1100)])
def test_the_answer(
    kernel: str, act: Activation, products: int, shape: tuple[int, int, int]
) -> None:
    m, n, k = shape
    made = layer(kernel, n, k, products, act)
    x = torch.randn(m, k) * 3
    close(made(x), expected(made, x))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_plain_loops_give_the_same_bits(kernel: str, act: Activation) -> None:
    made, x = layer(kernel, 40, 1100, act=act), torch.randn(29, 1100)
    y = made(x)
    made.kernel = "scalar"
    assert torch.equal(made(x), y)


def test_the_kernel_knows_each_activation_and_no_other(kernel: str) -> None:
    made, x = layer(kernel, 20, 70), torch.zeros(2, 70)
    for activation in (*ACTIVATIONS, "tanh", "GELU", ""):
        made.activation = activation  # type: ignore[assignment]
        if activation in ACTIVATIONS:
            made(x)
            continue
        with pytest.raises(RuntimeError, match=f"none, gelu or relu, not '{activation}'"):
            made(x)


def test_an_unknown_instruction_set_is_refused(kernel: str) -> None:
    made = layer(kernel, 20, 70)
    made.kernel = "avx512"
    with pytest.raises(RuntimeError, match=r"must be scalar, avx2, vnni or amx, .* not 'avx512' "):
        made(torch.zeros(2, 70))


def test_gelu_is_torchs_to_two_millionths(kernel: str) -> None:
    """Rows of one number are exact, so only the function itself is seen."""
    one = torch.ones(1, 1, dtype=torch.int8)
    gelu = fast_layer(kernel, one, torch.ones(1), torch.zeros(1), activation="gelu")
    x = torch.linspace(-10, 10, 200_001)[:, None]
    assert (gelu(x) - torch.nn.functional.gelu(x.double())).abs().max() < 2e-6
    far = torch.tensor([[-1e3], [-1e30], [1e3], [1e30]])
    close(gelu(far), torch.nn.functional.gelu(far.double()))


@pytest.mark.parametrize("act", ACTIVATIONS)
@THREADS
def test_a_row_does_not_depend_on_the_others(
    kernel: str, act: Activation, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = layer(kernel, 40, 100, act=act)
    x = torch.randn(29, 100)
    alone = torch.cat([made(row[None]) for row in x])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for m in range(1, 30):
            assert torch.equal(made(x[:m]), alone[:m])
        many = x.repeat(200, 1)  # shared among threads by rows
        assert torch.equal(made(many), alone.repeat(200, 1))
        wide = layer(kernel, 1040, 100, act=act)  # and by columns
        assert torch.equal(wide(x)[3:4], wide(x[3:4]))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_spoils_its_row_alone(kernel: str, act: Activation, value: float) -> None:
    made = layer(kernel, 19, 75, act=act)
    x = torch.randn(9, 75)
    for place in (0, 7, 8, 40, 71, 72, 74):
        spoilt = x.clone()
        spoilt[4, place] = value
        y = made(spoilt)
        assert y[4].isnan().all()
        others = [row for row in range(9) if row != 4]
        assert torch.equal(y[others], made(x)[others])


ROWS: dict[str, Callable[[int], Tensor]] = {
    "zeros": torch.zeros,
    "constant": lambda k: torch.full((k,), 0.3),
    "negative constant": lambda k: torch.full((k,), -123.5),
    "denormal": lambda k: torch.linspace(-1e-41, 1e-40, k),
    "smallest normal": lambda k: torch.linspace(-TINY, TINY, k),
    "far from zero": lambda k: 1e4 + torch.linspace(0, 1, k),
    "one outlier": lambda k: torch.cat([torch.linspace(-1, 1, k - 1), torch.tensor([1e6])]),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("k", [31, 64, 100])
def test_strange_rows(kernel: str, kind: str, k: int) -> None:
    made = layer(kernel, 24, k)
    x = ROWS[kind](k)[None]
    right = expected(made, x)
    size = float(x.abs().max()) * math.sqrt(k)
    torch.testing.assert_close(made(x).double(), right, rtol=1e-5, atol=1e-5 + 1e-6 * size)


@pytest.mark.parametrize("k", [31, 64, 100])
def test_rows_as_wide_as_float32(kernel: str, k: int) -> None:
    """Their ends are further apart than any float32."""
    torch.manual_seed(0)
    safe = quantize_for(torch.randn(24, k), 1)
    made = fast_layer(kernel, safe.weight, safe.scale * 1e-4, torch.zeros(24), 1)
    x = torch.where(torch.arange(k) % 3 == 0, 3e38, -3e38)[None]
    right = x.double() @ (safe.weight.double() * safe.scale.double()[:, None] * 1e-4).T
    torch.testing.assert_close(made(x).double(), right, rtol=0, atol=float(right.abs().max() / 200))


def test_input_that_is_not_contiguous(kernel: str) -> None:
    made = layer(kernel, 20, 70)
    x = torch.randn(70, 9)
    assert torch.equal(made(x.t()), made(x.t().contiguous()))
    assert torch.equal(made(x.repeat(2, 1)[::2].t()), made(x.repeat(2, 1)[::2].t().contiguous()))


def test_no_rows_and_no_channels(kernel: str) -> None:
    assert layer(kernel, 20, 70)(torch.zeros(0, 70)).shape == (0, 20)
    none = fast_layer(kernel, torch.zeros(0, 70, dtype=torch.int8), torch.zeros(0), torch.zeros(0))
    assert none(torch.zeros(3, 70)).shape == (3, 0)


def test_wrong_input_is_refused(kernel: str) -> None:
    made = layer(kernel, 20, 70)
    for x in (
        torch.zeros(2, 71),
        torch.zeros(2, 3, 70),
        torch.zeros(70),
        torch.zeros(2, 70).half(),
    ):
        with pytest.raises(RuntimeError, match=r"x must be float32 of shape \(rows, 70\)"):
            made(x)
    with pytest.raises(RuntimeError, match="a layer of no inputs"):
        fast_layer(kernel, torch.zeros(4, 0, dtype=torch.int8), torch.ones(4), torch.ones(4))(
            torch.zeros(2, 0)
        )


@pytest.mark.parametrize("kind", ["library", "plain"])
def test_the_librarys_products_give_the_same_answer(kind: str) -> None:
    torch.manual_seed(0)
    safe = quantize_for(torch.randn(24, 100) / 10, 4)
    bias = torch.randn(24)
    make = library_linear if kind == "library" else PlainLinear
    x = torch.randn(30, 100)
    q, low, step = quantized(x)
    weight = safe.weight.double() * safe.scale.double()[:, None]
    right = (low + step * q) @ weight.T + bias.double()
    got = make(safe.weight, safe.scale, bias)(x).double()
    # Halves may be rounded the other way: one step of one activation.
    torch.testing.assert_close(got, right, rtol=1e-3, atol=float(step.max() * weight.abs().max()))
