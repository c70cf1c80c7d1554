"""The integers of int8_fast: what our kernels add up is exact, for any activations of 7 bits.

They are compared with int64 here, and bit for bit with the kernel's own plain loops ("scalar").
"""

import pytest
import torch
from torch import Tensor

from stages.engines.runtime import packed_file
from stages.engines.safe_l.rounding import (
    LANE_LIMIT,
    PER_TOKEN,
    PRODUCTS,
    check_safe,
    padded,
    quantize_for,
)
from stages.variants.int8_fast.linear import Packed

MOST = PER_TOKEN.steps
EVERY_S = pytest.mark.parametrize("products", PRODUCTS)


def pack(weight: Tensor) -> Tensor:
    none = torch.zeros(len(weight))
    return Packed.of(weight, none, none, 1).weight


def multiplied(instruction_set: str, q: Tensor, weight: Tensor, products: int) -> Tensor:
    """What our kernel makes of uint8 (m, k) and int8 (n, k)."""
    n, k = weight.shape
    q = torch.nn.functional.pad(q, (0, padded(k, packed_file.K_ALIGNED) - k)).contiguous()
    packed = pack(weight)
    sums: Tensor = torch.ops.int8_fast.products(q, packed, n, products, instruction_set)
    return sums


def exact(q: Tensor, weight: Tensor) -> Tensor:
    return q.long() @ weight.long().T


def safe_weights(n: int, k: int, products: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return quantize_for(torch.randn(n, k), products).weight


def adversarial(weight: Tensor) -> Tensor:
    """For each channel the activations that drive it up as far as can be, and down."""
    return torch.cat([weight > 0, weight < 0]).byte() * MOST


def test_the_kernel_was_built_for_what_python_says(kernel: str) -> None:
    said = packed_file.PANEL, packed_file.K_ALIGNED, PER_TOKEN.steps, LANE_LIMIT
    assert torch.ops.int8_fast.constants() == said
    assert all(packed_file.K_ALIGNED % (4 * products) == 0 for products in PRODUCTS)


@pytest.mark.parametrize("instruction_set", ["scalar", "avx2", "vnni", "amx"])
def test_every_s_has_a_tile_and_nothing_else_has(kernel: str, instruction_set: str) -> None:
    packed, q = pack(torch.zeros(16, 64, dtype=torch.int8)), torch.zeros(2, 64).byte()
    for products in range(-17, 34):
        if products in PRODUCTS:
            torch.ops.int8_fast.products(q, packed, 16, products, instruction_set)
            continue
        refused = f"products 1, 2, 4, 8 or 16, not '{instruction_set}' and {products}\\b"
        with pytest.raises(RuntimeError, match=refused):
            torch.ops.int8_fast.products(q, packed, 16, products, instruction_set)


@pytest.mark.parametrize("name", ["", "AVX2", "avx512", "library", "avx2 "])
def test_an_unknown_instruction_set_is_refused(kernel: str, name: str) -> None:
    packed, q = pack(torch.zeros(16, 64, dtype=torch.int8)), torch.zeros(2, 64).byte()
    with pytest.raises(
        RuntimeError, match=f"must be scalar, avx2, vnni or amx, .* not '{name}' and 4"
    ):
        torch.ops.int8_fast.products(q, packed, 16, 4, name)


@EVERY_S
@pytest.mark.parametrize("k", [1, 64, 200, 1100])
def test_plain_loops_give_the_same_bits(kernel: str, products: int, k: int) -> None:
    weight = safe_weights(35, k, products, seed=k)
    q = torch.cat([torch.randint(0, MOST + 1, (83, k), dtype=torch.uint8), adversarial(weight)])
    for m in (*range(1, 18), 31, 48, 64, 65, len(q)):
        plain = multiplied("scalar", q[:m], weight, products)
        assert plain.dtype == torch.int32
        assert torch.equal(multiplied(kernel, q[:m], weight, products), plain)


@EVERY_S
def test_plain_loops_are_exact(kernel: str, products: int) -> None:
    weight = safe_weights(48, 1100, products)
    q = torch.randint(0, MOST + 1, (40, 1100), dtype=torch.uint8)
    assert torch.equal(multiplied("scalar", q, weight, products).long(), exact(q, weight))


@EVERY_S
def test_random_activations(kernel: str, products: int) -> None:
    weight = safe_weights(48, 1100, products)
    q = torch.randint(0, MOST + 1, (40, 1100), dtype=torch.uint8)
    assert torch.equal(multiplied(kernel, q, weight, products).long(), exact(q, weight))


@EVERY_S
def test_the_worst_activations_of_each_channel(kernel: str, products: int) -> None:
    weight = safe_weights(64, 384, products)
    q = adversarial(weight)
    assert torch.equal(multiplied(kernel, q, weight, products).long(), exact(q, weight))


@EVERY_S
@pytest.mark.parametrize("signs", ["all positive", "all negative", "alternating", "by twos"])
def test_the_largest_weights_that_are_safe_with_the_largest_activations(
    kernel: str, products: int, signs: str
) -> None:
    """A lane of 2 S equal weights: 258 / 2 S is the most that each may be."""
    largest = min(LANE_LIMIT // (2 * products), MOST)
    weight = torch.full((17, 320), largest, dtype=torch.int8)
    if signs == "all negative":
        weight = -weight
    elif signs == "alternating":
        weight[:, 1::2] *= -1
    elif signs == "by twos":  # a lane of the kernel then holds one sign alone
        weight.view(17, -1, 4)[:, :, 2:] *= -1
    q = torch.cat([torch.full((1, 320), MOST, dtype=torch.uint8), adversarial(weight)])
    assert torch.equal(multiplied(kernel, q, weight, products).long(), exact(q, weight))


@EVERY_S
@pytest.mark.parametrize("k", [1, 4, 63, 64, 65, 130])
def test_any_number_of_rows_channels_and_inputs(kernel: str, products: int, k: int) -> None:
    weight = safe_weights(33, k, products)
    q = torch.randint(0, MOST + 1, (13, k), dtype=torch.uint8)
    right = exact(q, weight)
    for n in range(1, 34):
        for m in range(1, 14):
            got = multiplied(kernel, q[:m], weight[:n], products)
            assert torch.equal(got.long(), right[:m, :n]), (m, n)


@pytest.mark.parametrize("products", [s for s in PRODUCTS if s > 1])
def test_plain_8_bit_weights_would_overflow(kernel: str, products: int) -> None:
    """The control: of weights without the proof, the same comparison fails."""
    torch.manual_seed(0)
    weight = quantize_for(torch.randn(64, 384), 1).weight
    q = adversarial(weight)
    with pytest.raises(ValueError, match="would overflow"):
        check_safe(weight, products)
    wrong = multiplied(kernel, q, weight, products).long() != exact(q, weight)
    assert bool(wrong.any()) == (kernel == "avx2")  # the others add in int32: no lane


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("products", [s for s in PRODUCTS if s > 1])
def test_the_bound_is_sharp(kernel: str, products: int, sign: int) -> None:
    """A lane of 258 is right; one level more and the proof refuses it, rightly."""
    weight = torch.zeros(1, 64, dtype=torch.int8)
    weight[0, [0, 1, 4, 5]] = sign * torch.tensor([127, 127, 4, 0], dtype=torch.int8)
    q = torch.full((1, 64), MOST, dtype=torch.uint8)
    assert torch.equal(multiplied(kernel, q, weight, products).long(), exact(q, weight))
    weight[0, 5] = sign
    with pytest.raises(ValueError, match=f"sum up to 259.*S={products}"):
        check_safe(weight, products)
    right = torch.equal(multiplied(kernel, q, weight, products).long(), exact(q, weight))
    assert right == (kernel != "avx2")


def test_a_smaller_s_is_always_safe_for_the_same_weights() -> None:
    weight = safe_weights(32, 768, PRODUCTS[0])
    for products in PRODUCTS:
        check_safe(weight, products)


def test_other_shapes_and_types_are_refused(kernel: str) -> None:
    packed = pack(torch.zeros(16, 64, dtype=torch.int8))
    q = torch.zeros(2, 64, dtype=torch.uint8)
    product = torch.ops.int8_fast.products
    for strange in (q[:, :63], q.int(), q.t(), q[0]):
        with pytest.raises(RuntimeError, match=r"q must be|do not fit"):
            product(strange, packed, 16, 4, "avx2")
    with pytest.raises(RuntimeError, match="do not fit"):
        product(q, packed, 17, 4, "avx2")
    with pytest.raises(RuntimeError, match="packed must be"):
        product(q, packed.int(), 16, 4, "avx2")
