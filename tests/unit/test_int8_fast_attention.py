"""Attention of int8_fast: texts one behind the other, each looks at itself alone."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from stages.models.fast.dispatch import choose

pytestmark = pytest.mark.skipif(choose() == "library", reason="the kernel cannot run here")


def starts_of(lengths: list[int]) -> Tensor:
    return torch.nn.functional.pad(torch.tensor(lengths).cumsum(0), (1, 0))


def attend(parts: Sequence[Tensor], asked: Tensor, told: Tensor, heads: int) -> Tensor:
    """Of queries, keys and values."""
    found: Tensor = torch.ops.int8_fast.attention(*parts, asked, told, heads)
    return found


def reference(parts: Sequence[Tensor], heads: int) -> Tensor:
    """Of one text, in float64."""
    q, k, v = (part.double().unflatten(1, (heads, -1)).transpose(0, 1) for part in parts)
    return scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1).float()


@pytest.mark.parametrize(("heads", "size"), [(12, 64), (12, 32), (3, 8), (2, 5), (1, 100)])
@pytest.mark.parametrize("lengths", [[1], [7, 8, 9], [53, 2, 128], [1, 1, 1, 33]])
def test_each_text_gets_what_it_would_alone(heads: int, size: int, lengths: list[int]) -> None:
    torch.manual_seed(0)
    rows = torch.randn(sum(lengths), 3 * heads * size)
    parts = rows.chunk(3, 1)  # not contiguous, as a fused layer gives them
    starts = starts_of(lengths)
    found = attend(parts, starts, starts, heads)
    for begin, end in pairwise(starts):
        own = [part[begin:end] for part in parts]
        torch.testing.assert_close(found[begin:end], reference(own, heads), atol=2e-6, rtol=2e-5)
        alone = attend(own, starts_of([len(own[0])]), starts_of([len(own[0])]), heads)
        assert torch.equal(found[begin:end], alone)


def test_one_query_per_text_is_enough() -> None:
    torch.manual_seed(0)
    lengths, heads = [5, 30, 2], 4
    q, k, v = torch.randn(37, 3 * 64).chunk(3, 1)
    starts = starts_of(lengths)
    every = attend((q, k, v), starts, starts, heads)
    firsts = attend((q[starts[:-1]], k, v), torch.arange(4), starts, heads)
    assert torch.equal(firsts, every[starts[:-1]])


def test_scores_that_float32_cannot_exponentiate_are_no_trouble() -> None:
    q = torch.full((4, 8), 40.0)
    k = torch.arange(4.0)[:, None].expand(4, 8) * 40
    v = torch.eye(4, 8)
    starts = starts_of([4])
    torch.testing.assert_close(attend((q, k, v), starts, starts, 1), reference((q, k, v), 1))


def test_nan_stays_in_the_text_that_has_it() -> None:
    rows = torch.randn(12, 3 * 16)
    rows[2] = float("nan")
    starts = starts_of([5, 7])
    found = attend(rows.chunk(3, 1), starts, starts, 2)
    assert found[:5].isnan().all()
    assert not found[5:].isnan().any()


@pytest.mark.parametrize(
    ("starts", "why"),
    [([0, 3], "from 0 to 4"), ([1, 4], "from 0 to 4"), ([0, 5, 4], "from 0 to 4")],
)
def test_starts_that_do_not_fit_are_refused(starts: list[int], why: str) -> None:
    q, k, v = torch.randn(4, 3 * 8).chunk(3, 1)
    with pytest.raises(RuntimeError, match=why):
        attend((q, k, v), torch.tensor(starts), torch.tensor(starts), 1)


def test_columns_that_heads_cannot_share_are_refused() -> None:
    q, k, v = torch.randn(4, 3 * 8).chunk(3, 1)
    with pytest.raises(RuntimeError, match="per head"):
        attend((q, k, v), starts_of([4]), starts_of([4]), 3)
