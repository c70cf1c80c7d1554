"""Integer models of any size with random numbers, for what must hold whatever the weights are."""

from pathlib import Path

import numpy as np

from stages.engines.ibert.reference import normal_bits, root_of
from stages.engines.ibert.tensors import FORMAT, LAYER_SCALARS
from stages.engines.runtime import packed_file
from stages.engines.runtime.packed_file import Sizes

# Heads of odd sizes, columns that fill no panel, one layer, no table of types, positions from 2 on,
# a text longer than 512, both activations and both heads, a regression.
ODD_SIZES = {
    "small": Sizes(20, 2, 2, 36, 50, 40, 0, 0, 1, 1, 1),
    "one column a head": Sizes(7, 3, 7, 3, 30, 20, 1, 1, 4, 0, 0),
    "large head": Sizes(256, 1, 2, 100, 60, 40, 2, 2, 8, 0, 0),
    "as TinyBERT": Sizes(312, 2, 12, 1200, 200, 80, 2, 0, 2, 0, 0),
    "long": Sizes(64, 2, 2, 130, 99, 600, 2, 0, 9, 0, 0),
}


def random_model(file: Path, sizes: Sizes, seed: int, wild: bool = False) -> Path:
    """Written to `file`.

    Args:
        wild: numbers that no trained model has, so that saturating steps cut.
    """
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray] = {}

    def between(low: int, high: int, tame: tuple[int, int]) -> int:
        return int(random.integers(*(low, high) if wild else tame, endpoint=True))

    def shift_of(k: int) -> int:
        near = round(np.log2(k) / 2)
        return between(-3, 12, (near - 1, near + 1))

    scalars = np.zeros((packed_file.round_up(sizes.layers, 4), LAYER_SCALARS), np.int32)
    for i in range(sizes.layers):
        for j in range(4):
            k = sizes.ffn if j == 3 else sizes.hidden
            scalars[i, 3 * j : 3 * j + 3] = shift_of(k), between(0, 14, (7, 10)), 1
        scalars[i, 12:14] = random.integers(1, 5000, 2)
        scalars[i, 14:17] = (
            between(0, 10, (6, 10)),
            random.integers(0, 65536),
            between(1, 14, (9, 13)),
        )
    dense = shift_of(sizes.hidden), between(0, 14, (7, 10)), 1
    tensors["layers"] = scalars
    tensors["model"] = packed_file.model_scalars(
        FORMAT, sizes, *dense, 15, 12, 100, normal_bits(sizes.hidden), root_of(sizes.hidden)
    )
    for name, (n, k) in packed_file.linears(sizes).items():
        # With S = 1 a lane of AVX2 holds two weights: 258 of one sign at most, so 127 each will do.
        weight = random.integers(-127, 128, (n, k)).astype(np.int8)
        limit = np.full(n, 32767, np.int16)
        if name.endswith("qkv"):
            limit[: n // 3 * 2], limit[n // 3 * 2 :] = 4095, 2047 >> (sizes.positions > 512)
        tensors |= {
            f"{name}.weight": packed_file.pack(weight),
            f"{name}.weight_sum": weight.sum(1, dtype=np.int32),
            f"{name}.multiplier": random.integers(1 if wild else 8000, 32768, n).astype(np.int16),
            f"{name}.bias": random.integers(-3000, 3000, n).astype(np.int16),
            f"{name}.limit": limit,
        }
    for name in packed_file.norms(sizes):
        low = -32767 if wild else 15000
        tensors[f"{name}.gamma"] = random.integers(low, 32768, sizes.hidden).astype(np.int16)
        tensors[f"{name}.beta"] = random.integers(-3000, 3000, sizes.hidden).astype(np.int16)
    shape = (sizes.outputs, sizes.hidden)
    tensors["head.weight"] = random.integers(-32767, 32768, shape).astype(np.int16)
    tensors["head.bias"] = random.integers(-(10**6), 10**6, sizes.outputs).astype(np.int32)
    for name, rows in packed_file.tables(sizes).items():
        weight = random.integers(-127, 128, (rows, sizes.hidden)).astype(np.int8)
        tensors[f"{name}.weight"] = weight
        tensors[f"{name}.multiplier"] = random.integers(1, 10900, rows).astype(np.int16)
    packed_file.write(FORMAT, tensors, sizes, file)
    return file


def random_texts(sizes: Sizes, seed: int, longest: int = 70) -> tuple[list, list]:
    """Ids and types of texts of many lengths, the longest that the model takes among them."""
    random = np.random.default_rng(seed)
    most = sizes.positions - sizes.first_position
    lengths = [n for n in (1, 2, 5, 16, 17, 33, 64, most) if n <= min(most, longest)]
    ids = [random.integers(0, sizes.words, n) for n in lengths]
    return ids, [random.integers(0, max(sizes.types, 1), n) for n in lengths]
