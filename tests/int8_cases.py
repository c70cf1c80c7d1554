"""Numbers and schemes that the tests of rounding to int8 try."""

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from stages.engines.int8.quantizers import Activations

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
