"""Attention of int8_fast: each text by itself, whatever its length, heads and neighbours."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

SIZES = pytest.mark.parametrize("size", [1, 5, 8, 16, 23, 32, 40, 64])
# Scores of 100 and more in float32: torch's own attention is up to 8e-6 away here, as ours is.
NEAR = 1.5e-5
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 17, 24, 25, 33, 70]


def starts(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


def attention(q: Tensor, k: Tensor, v: Tensor, asked: Tensor, told: Tensor, heads: int) -> Tensor:
    mixed: Tensor = torch.ops.int8_fast.attention(q, k, v, asked, told, heads)
    return mixed


def exact(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """One text in float64."""
    parts = [x.double().unflatten(1, (heads, -1)).transpose(0, 1) for x in (q, k, v)]
    return scaled_dot_product_attention(*parts).transpose(0, 1).flatten(1)


@SIZES
@pytest.mark.parametrize("heads", [1, 3])
def test_every_text_as_in_float64(kernel: str, size: int, heads: int) -> None:
    torch.manual_seed(size)
    rows = starts(LENGTHS)
    # As a layer gives them: side by side in rows three times as wide.
    q, k, v = torch.randn(sum(LENGTHS), 3 * heads * size).mul(2).split(heads * size, 1)
    together = attention(q, k, v, rows, rows, heads)
    first = attention(q[rows[:-1]], k, v, torch.arange(len(rows)), rows, heads)
    for i, (begin, end) in enumerate(pairwise(rows.tolist())):
        text = slice(begin, end)
        right = exact(q[text], k[text], v[text], heads)
        torch.testing.assert_close(together[text].double(), right, rtol=1e-5, atol=NEAR)
        torch.testing.assert_close(first[i : i + 1].double(), right[:1], rtol=1e-5, atol=NEAR)
        own = starts([end - begin])
        alone = attention(q[text].clone(), k[text].clone(), v[text].clone(), own, own, heads)
        assert torch.equal(alone, together[text])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_stays_in_its_text(kernel: str, value: float) -> None:
    torch.manual_seed(0)
    rows = starts([5, 9, 12])
    q, k, v = (torch.randn(26, 32) for _ in range(3))
    right = attention(q, k, v, rows, rows, 2)
    for place in range(5, 14):
        spoilt = q.clone()
        spoilt[place] = value
        mixed = attention(spoilt, k, v, rows, rows, 2)
        assert mixed[place].isnan().all()
        others = [row for row in range(26) if row != place]
        assert torch.equal(mixed[others], right[others])
        spoilt = k.clone()
        spoilt[place, 3] = math.nan
        mixed = attention(q, spoilt, v, rows, rows, 2)
        assert mixed[5:14, :16].isnan().all()
        assert torch.equal(mixed[:5], right[:5])
        assert torch.equal(mixed[14:], right[14:])


def test_scores_far_apart_choose_one_key(kernel: str) -> None:
    """What is left of the others underflows to nothing, without NaN."""
    rows = starts([20])
    q, v = torch.full((20, 8), 1e4), torch.randn(20, 8)
    k = torch.full((20, 8), -1e4)
    k[13] = 1e4
    mixed = attention(q, k, v, rows, rows, 1)
    torch.testing.assert_close(mixed, v[13].expand(20, 8), rtol=1e-6, atol=1e-30)


def test_wrong_input_is_refused(kernel: str) -> None:
    x, right = torch.zeros(4, 8), starts([1, 3])
    for rows in (starts([1, 2]), starts([1, 4]), torch.tensor([1, 2, 4]), torch.tensor([0, 5, 4])):
        with pytest.raises(RuntimeError, match="starts must rise from 0 to 4"):
            attention(x, x, x, rows, rows, 2)
    with pytest.raises(RuntimeError, match="starts must be int64"):
        attention(x, x, x, right.int(), right, 2)
    for heads in (0, 3):
        with pytest.raises(RuntimeError, match="columns per head"):
            attention(x, x, x, right, right, heads)
    for strange in (x.double(), torch.zeros(4, 9), torch.zeros(8, 4).t()):
        with pytest.raises(RuntimeError, match="must be float32"):
            attention(x, strange, x, right, right, 2)
