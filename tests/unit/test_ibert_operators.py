"""The operators of docs/ibert.md, as the NumPy judge computes them, against real numbers."""

from math import erf

import numpy as np
import pytest

from stages.engines.ibert import reference
from stages.engines.ibert.reference import Rows, Saturations

INT16 = np.arange(-32767, 32768)


@pytest.mark.parametrize("bits", [9, 12, 14])
def test_gelu_is_right_to_two_thousandths(bits: int) -> None:
    x = INT16 * reference.GELU_END / 2**bits
    real = x * 0.5 * (1 + np.array([erf(value) for value in x / 2**0.5]))
    found = reference.gelu(INT16, bits) * reference.GELU_END / 2**bits
    step = reference.GELU_END / 2**bits
    assert np.abs(found - real).max() < 0.0022 + step


def test_gelu_has_a_seventh_of_the_error_of_the_papers_polynomial() -> None:
    x = INT16 * reference.GELU_END / 2**12
    z = x / 2**0.5
    real = 0.5 * x * (1 + np.array([erf(value) for value in z]))
    paper = 0.5 * x * (1 + np.sign(z) * (-0.2888 * (np.minimum(np.abs(z), 1.769) - 1.769) ** 2 + 1))
    found = reference.gelu(INT16, 12) * reference.GELU_END / 2**12
    assert np.abs(found - real).max() < np.abs(paper - real).max() / 7


def test_powers_of_two_are_right_to_a_quarter_of_a_percent() -> None:
    f = np.arange(2**15)
    real = 2.0 ** (-f / 2**15) * 2**15
    assert np.abs(reference.exp2(f, reference.EXP2) / real - 1).max() < 0.0025
    assert np.abs(reference.exp2(f, reference.EXP2_FINE) / real - 1).max() < 0.0002


def test_tanh_is_right_to_four_digits() -> None:
    real = np.tanh(INT16 / 2**reference.TANH_BITS)
    assert np.abs(reference.tanh(INT16) / 2**15 - real).max() < 0.0003


@pytest.mark.parametrize("n", [7, 32, 384, 768, 1024, 4096])
def test_layernorm_is_that_of_real_numbers_within_its_steps(n: int) -> None:
    random = np.random.default_rng(n)
    x = random.normal(0, 3000, (50, n)).round().clip(-32767, 32767).astype(np.int64)
    x[:, n // 2] = 30000  # the outlier that BERT's streams have
    unit = 2.0 ** -reference.normal_bits(n)
    # Gamma 1 and beta 0, out in steps of 1/512 or what gamma still fits.
    out = max(1 / 512, unit * 2**15 / 32767)
    tensors = {
        "norm.gamma": np.full(n, round(unit * 2**15 / out)),
        "norm.beta": np.zeros(n, np.int64),
    }
    found = reference.Norm("norm", tensors, eps=1)(x, Saturations()) * out
    centred = x - x.mean(1, keepdims=True)
    real = centred / np.sqrt((centred**2).mean(1, keepdims=True))
    assert np.abs(found - real).max() < 3 * max(out, unit) + 1e-3 * np.abs(real).max()


def test_rows_of_seven_bits_lose_half_a_step_and_no_more() -> None:
    random = np.random.default_rng(0)
    x = (random.normal(0, 1, (200, 96)) * random.integers(1, 9000, (200, 1))).round()
    x = x.clip(-32768, 32767).astype(np.int64)
    rows = Rows(x)
    per = (127 << 15) // np.maximum(np.maximum(x.max(1), 0) - np.minimum(x.min(1), 0), 128)
    back = (rows.q - rows.z[:, None]) * 2.0**15 / per[:, None]
    step = 2.0**15 / per[:, None]
    assert (np.abs(back - x) / step).max() <= 1.01  # z is rounded as well
    assert rows.q.min() >= 0
    assert rows.q.max() <= 127
    # What multiplies back is 1 / R to 15 bits.
    back_by = rows.inverse / 2.0 ** (14 + rows.bits)
    assert np.abs(back_by * per - 1).max() < 2.0**-14


def test_a_score_far_below_the_largest_gets_nothing_and_the_largest_all() -> None:
    qkv = np.zeros((3, 48), np.int64)
    qkv[0, :8], qkv[0, 16:24] = 4095, 4095  # the first key alone is like the query
    qkv[:, 32:40] = [[100], [2000], [-2000]]
    mixed = reference.attention(qkv, slice(0, 1), 6, 40000, heads=2, hidden=16)
    np.testing.assert_allclose(mixed[0, :8], 8 * 100, atol=1)
    assert (mixed[0, 8:] == 0).all()  # the other head's values are 0


@pytest.mark.parametrize("size", [2, 3, 4, 7, 8, 9, 2**20, 2**40 - 1, 2**52 - 1])
def test_bits_of_a_number(size: int) -> None:
    assert reference.bit_length(np.array([size]))[0] == size.bit_length()
