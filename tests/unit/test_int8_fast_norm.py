"""LayerNorm of a sum, as int8_fast runs it: in place, each row by itself."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

HIDDEN = pytest.mark.parametrize("hidden", [1, 5, 8, 30, 64, 384, 771])
EPS = 1e-12


def add_norm(x: Tensor, other: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = x.clone()
    torch.ops.int8_fast.add_norm_(y, other, weight, bias, EPS)
    return y


def parts(hidden: int, rows: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(hidden)
    # Rows of any size and place: a mean of 100 with a spread of 1 is what costs digits.
    x = torch.randn(rows, hidden) * torch.logspace(-3, 2, rows)[:, None]
    other = torch.randn(rows, hidden) + torch.linspace(-100, 100, rows)[:, None]
    return x, other, torch.randn(hidden), torch.randn(hidden)


@HIDDEN
def test_as_in_float64(kernel: str, hidden: int) -> None:
    x, other, weight, bias = parts(hidden)
    wide = (part.double() for part in (x, other, weight, bias))
    normalized = add_norm(x, other, weight, bias)
    a, b, w, c = wide
    exact = layer_norm(a + b, (hidden,), w, c, EPS)
    if hidden == 1:  # nothing is left of a row that is its own mean
        assert torch.equal(normalized, bias.expand(len(x), 1))
        return
    torchs = layer_norm(x + other, (hidden,), weight, bias, EPS).double()
    # At most twice as far away as torch's own, which rounds the same sums.
    assert (normalized - exact).abs().max() <= 2 * (torchs - exact).abs().max() + 1e-6


@HIDDEN
def test_a_row_does_not_depend_on_its_neighbours(kernel: str, hidden: int) -> None:
    x, other, weight, bias = parts(hidden, rows=300)
    together = add_norm(x, other, weight, bias)
    for row in (0, 7, 299):
        alone = add_norm(x[row : row + 1], other[row : row + 1], weight, bias)
        assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 9, 29])
def test_what_is_no_number_stays_in_its_row(kernel: str, value: float, place: int) -> None:
    x, other, weight, bias = parts(30)
    right = add_norm(x, other, weight, bias)
    x[3, place] = value
    normalized = add_norm(x, other, weight, bias)
    assert normalized[3].isnan().all()
    rest = [row for row in range(len(x)) if row != 3]
    assert torch.equal(normalized[rest], right[rest])


def test_no_rows(kernel: str) -> None:
    x, other, weight, bias = parts(16)
    assert add_norm(x[:0], other[:0], weight, bias).shape == (0, 16)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.7, 10.1, 100.3])
def test_nothing_is_left_of_a_row_of_equal_numbers(kernel: str, value: float) -> None:
    """Neither of what rounding makes of its mean."""
    for hidden in (16, 384, 771):
        _, _, weight, bias = parts(hidden)
        constant = torch.full((2, hidden), value)
        normalized = add_norm(constant, constant * 0.37, weight, bias)
        torch.testing.assert_close(normalized, bias.expand(2, hidden), rtol=1e-5, atol=1e-5)


def test_wrong_input_is_refused(kernel: str) -> None:
    x, other, weight, bias = parts(16)
    with pytest.raises(RuntimeError, match="of one shape"):
        add_norm(x, other[:1], weight, bias)
    with pytest.raises(RuntimeError, match=r"must be \(16\)"):
        add_norm(x, other, weight[:8], bias)
    with pytest.raises(RuntimeError, match="contiguous float32"):
        add_norm(x, other.double(), weight, bias)
    with pytest.raises(RuntimeError, match="contiguous float32"):
        torch.ops.int8_fast.add_norm_(torch.zeros(16, 40).t(), other, weight, bias, EPS)
