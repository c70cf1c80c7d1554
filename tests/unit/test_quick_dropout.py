"""Dropout from 16 random bits: the share, the mean, the gradient and the seed of torch's own."""

import pytest
import torch
from torch.nn import functional

from stages.training import quick_dropout as quick
from stages.training.quick_dropout import QuickDropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(1000, 1001), (7, 11, 13, 999)])
def test_a_share_of_the_elements_is_dropped_and_the_mean_stays(
    p: float, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    x = torch.ones(shape)
    y = quick.dropout(x, p)
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert float((y == 0).double().mean()) == pytest.approx(p, abs=5 * deviation + 2**-17)
    kept = torch.unique(y)
    assert kept[0] == 0
    assert kept[1:].tolist() == pytest.approx([1 / (1 - p)], rel=1e-3)
    assert float(y.double().mean()) == pytest.approx(1, abs=5 * deviation / (1 - p))


def test_neighbours_are_dropped_independently() -> None:
    """Four elements share one random number: none of them may tell of another."""
    torch.manual_seed(0)
    dropped = (quick.dropout(torch.ones(4_000_000), 0.3) == 0).view(-1, 4).double()
    correlation = torch.corrcoef(dropped.T)
    assert (correlation - torch.eye(4)).abs().max() < 0.005
    assert (torch.corrcoef(torch.stack([dropped[:-1, 3], dropped[1:, 0]]))[0, 1]).abs() < 0.005


def test_the_gradient_passes_where_the_value_did() -> None:
    x = torch.randn(50, 60, requires_grad=True)
    y = quick.dropout(x, 0.4)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)


def test_dropout_follows_the_seed_and_rests_outside_of_training() -> None:
    x, drawn = torch.randn(100), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(quick.dropout(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert quick.dropout(x, 0.5, training=False) is x
    assert quick.dropout(x, 0.0) is x
    assert not quick.dropout(x, 1.0).any()


def test_within_the_block_torchs_name_gives_the_quick_one() -> None:
    x = torch.ones(1000)
    torch.manual_seed(0)
    expected = quick.dropout(x, 0.2)
    torch.manual_seed(0)
    with QuickDropout():
        assert torch.equal(functional.dropout(x, p=0.2), expected)
