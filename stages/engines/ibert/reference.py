"""The judge: the classifier of docs/ibert.md in NumPy, one operator a function, integers alone.

Plain and slow on purpose. Arrays are int64 here whatever type docs/ibert.md gives them; every value
fits that type. All else that runs an artifact, with AVX2, with VNNI or in plain C99, must give the
same integers.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isqrt

import numpy as np

from stages.engines.runtime.packed_file import (
    ACTIVATIONS,
    EMBEDDINGS_NORM,
    HEAD_ACTIVATIONS,
    LINEARS,
    POSITIONS,
    TYPES,
    WORDS,
    Sizes,
    unpack,
)

Array = np.ndarray
STEPS = 127  # of an activation
TOP = 32767
# 2^-f for 0 <= f < 1 is 1 + f (E0 + f (E1 ...)), Q15.
EXP2 = (-22034, 5687)
EXP2_FINE = (-22662, 7575, -1298)
# GELU(x) = max(x, 0) - |x| d (G0 + d (G1 + d G2)), d = 1 - |x| / 3.25 but not below 0; Q15.
GELU = (1104, -6714, 22980)
GELU_END = 3.25
# tanh reads Q12 and needs |x| 2 log2(e) in Q15: this factor, shifted by 10.
TANH_FACTOR, TANH_SHIFT, TANH_BITS = 23637, 10, 12


class Saturations(dict[str, int]):
    """How many numbers each saturating step has cut, by the step's name."""

    def cut(self, name: str, x: Array, limit: Array | None = None) -> Array:
        """As int16, or in [-limit, limit]."""
        inside = np.clip(x, -TOP - 1, TOP) if limit is None else np.clip(x, -limit, limit)
        if over := int((inside != x).sum()):
            self[name] = self.get(name, 0) + over
        return inside


def mulhrs(a: Array, b: Array | int) -> Array:
    """Rounded a b / 2^15: vpmulhrsw."""
    product: Array = (a * b + (1 << 14)) >> 15
    return product


def rshr(a: Array, shift: Array | int) -> Array:
    """Rounded a / 2^shift; shift >= 1."""
    shifted: Array = (a + (1 << (shift - 1))) >> shift
    return shifted


def bit_length(a: Array) -> Array:
    """Of numbers from 1 to 2^52."""
    return np.frexp(a.astype(np.float64))[1].astype(np.int64)


def horner(x: Array, coefficients: Sequence[int]) -> Array:
    """c0 + x (c1 + x (c2 ...)) in Q15."""
    total = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = c + mulhrs(x, total)
    return total


def exp2(f: Array, coefficients: Sequence[int]) -> Array:
    """2^-f, both Q15, 0 <= f < 1; 1 becomes 32767."""
    return TOP + mulhrs(f, horner(f, coefficients))


class Rows:
    """Int16 rows (m, k) in 7 bits: q (m, k), and of each row z and R: x = (q - z) 2^15 / R."""

    def __init__(self, x: Array) -> None:
        low, high = np.minimum(x.min(1), 0), np.maximum(x.max(1), 0)
        per = (STEPS << 15) // np.maximum(high - low, 128)
        self.z = mulhrs(-low, per)
        self.q = np.clip(mulhrs(x, per[:, None]) + self.z[:, None], 0, STEPS)
        self.bits = bit_length(per)
        self.inverse = np.minimum(((1 << (14 + self.bits)) + per // 2) // per, TOP)


class Linear:
    """Rows -> int16 (m, n): the product, and what `finish` makes of it."""

    def __init__(self, name: str, tensors: Mapping[str, Array], shift: int, gain: int) -> None:
        self.name, self.shift, self.gain = name, shift, gain
        self.weight = unpack(tensors[f"{name}.weight"])
        self.sums, self.multiplier, self.bias, self.limit = (
            tensors[f"{name}.{part}"].astype(np.int64)
            for part in ("weight_sum", "multiplier", "bias", "limit")
        )

    def __call__(self, rows: Rows, cuts: Saturations, columns: slice = slice(None)) -> Array:
        """Args: columns: the output channels wanted."""
        k = rows.q.shape[1]
        # Below 2^53, so exact, and fast: NumPy has no fast product of integers.
        product = rows.q.astype(np.float64) @ self.weight[columns, :k].T.astype(np.float64)
        sums = product.astype(np.int64) - rows.z[:, None] * self.sums[columns]
        sums = rshr(sums, self.shift) if self.shift > 0 else sums << -self.shift
        a = cuts.cut(f"{self.name} sum", sums)
        y = mulhrs(mulhrs(a, self.multiplier[columns]), rows.inverse[:, None])
        down = rows.bits[:, None] - self.gain
        half = np.where(down > 0, 1 << np.maximum(down - 1, 0), 0)
        smaller = np.minimum(y + half, TOP) >> np.maximum(down, 0)
        larger = cuts.cut(f"{self.name} range", smaller << np.maximum(-down, 0))
        return cuts.cut(self.name, larger + self.bias[columns], self.limit[columns])


def gelu(x: Array, bits: int) -> Array:
    """Of int16 in steps of 3.25 / 2^bits."""
    size = np.minimum(np.abs(x), 1 << bits)
    d = ((1 << bits) - size) << (15 - bits)
    correction = mulhrs(size, mulhrs(d, horner(d, GELU)))
    # Where x is 0, d would be 1, which int16 in Q15 cannot say; and there is nothing to correct.
    return np.maximum(x, 0) - np.where(size == 0, 0, correction)


def attention(
    qkv: Array, queries: slice, shift: int, factor: int, heads: int, hidden: int
) -> Array:
    """Of one text: int16 (tokens, 3 n) -> (queries, hidden)."""
    n, size = qkv.shape[1] // 3, hidden // heads
    mixed = []
    for head in range(heads):
        columns = slice(head * size, (head + 1) * size)
        q, k, v = (qkv[:, part * n :][:, columns] for part in range(3))
        scores = q[queries] @ k.T
        t = np.minimum((scores.max(1, keepdims=True) - scores) >> shift, 65535)
        power = (t * factor) >> 16  # Q11
        whole, rest = np.minimum(power >> 11, 12), power & 2047
        weights = np.where(
            whole < 12, mulhrs(exp2(rest << 4, EXP2), 1 << (11 - np.minimum(whole, 11))), 0
        )
        total = weights.sum(1)
        bits = bit_length(total) - 4
        inverse = np.minimum((1 << (18 + bits)) // total, TOP)
        mixed.append(mulhrs(rshr(weights @ v, bits[:, None]), inverse[:, None]))
    return np.concatenate(mixed, 1)


class Norm:
    """LayerNorm of int16 rows; `eps` is n epsilon in their unit, squared."""

    def __init__(self, name: str, tensors: Mapping[str, Array], eps: int) -> None:
        self.name, self.eps = name, eps
        self.gamma, self.beta = (
            tensors[f"{name}.{part}"].astype(np.int64) for part in ("gamma", "beta")
        )

    def __call__(self, x: Array, cuts: Saturations) -> Array:
        n = x.shape[1]
        mean = (2 * x.sum(1) + n) // (2 * n)
        y = cuts.cut(f"{self.name} mean", x - mean[:, None])
        squares = (y * y).sum(1) + self.eps
        root = np.array([isqrt(int(v) << 16) for v in squares])
        up = np.maximum(15 - bit_length(root >> 8), 0)
        factor = np.minimum((root_of(n) << (15 - up)) // root, TOP)
        normal = mulhrs(y << up[:, None], factor[:, None])
        return cuts.cut(self.name, mulhrs(normal, self.gamma) + self.beta)


def normal_bits(n: int) -> int:
    """Behind the point of a normalized number: the most for which 2^bits sqrt(n) <= 2^14."""
    return 14 - (isqrt(n - 1)).bit_length() if n > 1 else 14


def root_of(n: int) -> int:
    """sqrt(n) in the unit that makes `normal_bits` right."""
    return isqrt(n << (2 * (normal_bits(n) + 8)))


def tanh(x: Array) -> Array:
    """Of Q12, Q15."""
    power = (np.abs(x) * TANH_FACTOR) >> TANH_SHIFT  # of two, Q15
    e = exp2(power & TOP, EXP2_FINE) >> np.minimum(power >> 15, 31)
    return np.sign(x) * ((((1 << 15) - e) << 15) // ((1 << 15) + e)).clip(max=TOP)


class Reference:
    """Callable: token ids of texts -> int32 logits (texts, outputs), in steps of 2^-exponent."""

    def __init__(self, sizes: Sizes, tensors: Mapping[str, Array]) -> None:
        self.sizes, self.tensors = sizes, tensors
        model, layers = tensors["model"].tolist(), tensors["layers"].tolist()
        shift, gain, _, self.logit_shift, self.exponent, eps = model[12:18]
        self.embeddings = Norm(EMBEDDINGS_NORM, tensors, eps)
        self.layers = [
            (
                [
                    Linear(f"layer.{i}.{name}", tensors, *layers[i][3 * j : 3 * j + 2])
                    for j, name in enumerate(LINEARS)
                ],
                Norm(f"layer.{i}.after_attention", tensors, layers[i][12]),
                Norm(f"layer.{i}.after_ffn", tensors, layers[i][13]),
                layers[i][14:17],
            )
            for i in range(sizes.layers)
        ]
        self.dense = Linear("head.dense", tensors, shift, gain)
        gelu_of: dict[str, Callable[[Array, int], Array]] = {
            "gelu": gelu,
            "relu": lambda x, _: np.maximum(x, 0),
        }
        self.activation = gelu_of[ACTIVATIONS[sizes.activation]]
        heads: dict[str, Callable[[Array], Array]] = {
            "tanh": tanh,
            "relu": lambda x: np.maximum(x, 0),
        }
        self.head_activation = heads[HEAD_ACTIVATIONS[sizes.head_activation]]

    def __call__(
        self,
        texts: Sequence[Array],
        types: Sequence[Array] | None = None,
        cuts: Saturations | None = None,
    ) -> Array:
        """Args: types: of each token; None where all are 0."""
        cuts = Saturations() if cuts is None else cuts
        rows = [
            self.first_token(ids, types[i] if types else None, cuts) for i, ids in enumerate(texts)
        ]
        return self.logits(np.stack(rows), cuts)

    def first_token(self, ids: Array, types: Array | None, cuts: Saturations) -> Array:
        x = self.embeddings(self.embed(ids, types, cuts), cuts)
        hidden = self.sizes.hidden
        for i, (linears, after_attention, after_ffn, (shift, factor, bits)) in enumerate(
            self.layers
        ):
            qkv_of, attention_out, ffn_in, ffn_out = linears
            wanted = slice(0, 1) if i == self.sizes.layers - 1 else slice(None)
            qkv = qkv_of(Rows(x), cuts)
            mixed = attention(qkv, wanted, shift, factor, self.sizes.heads, hidden)
            x = x[wanted]
            columns = slice(0, hidden)
            x = cuts.cut(f"layer.{i}.attention sum", attention_out(Rows(mixed), cuts, columns) + x)
            x = after_attention(x, cuts)
            inner = self.activation(ffn_in(Rows(x), cuts, slice(0, self.sizes.ffn)), bits)
            x = cuts.cut(f"layer.{i}.ffn sum", ffn_out(Rows(inner), cuts, columns) + x)
            x = after_ffn(x, cuts)
        return x[0]

    def embed(self, ids: Array, types: Array | None, cuts: Saturations) -> Array:
        found = self.row(WORDS, ids)
        found = found + self.row(POSITIONS, np.arange(len(ids)) + self.sizes.first_position)
        if self.sizes.types:
            found = found + self.row(TYPES, np.zeros_like(ids) if types is None else types)
        return cuts.cut("embeddings sum", found)

    def row(self, table: str, ids: Array) -> Array:
        weight, multiplier = (
            self.tensors[f"{table}.{part}"][ids] for part in ("weight", "multiplier")
        )
        return mulhrs(weight.astype(np.int64) << 8, multiplier.astype(np.int64)[:, None])

    def logits(self, x: Array, cuts: Saturations) -> Array:
        inner = self.head_activation(self.dense(Rows(x), cuts, slice(0, self.sizes.hidden)))
        weight, bias = (
            self.tensors[f"head.{part}"].astype(np.int64) for part in ("weight", "bias")
        )
        return rshr(inner @ weight.T, self.logit_shift) + bias
