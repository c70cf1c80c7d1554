"""From an fp32 model and its ranges to integers: the one place where scales are real numbers."""

from itertools import pairwise
from math import ceil, floor, frexp, log2
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.engines.ibert.calibration import INPUT, OUTPUT, SUM, Largest
from stages.engines.ibert.reference import (
    GELU_END,
    STEPS,
    TANH_BITS,
    TOP,
    normal_bits,
    root_of,
)
from stages.engines.ibert.tensors import FORMAT, LAYER_SCALARS
from stages.engines.int8.quantizers import quantize_weight
from stages.engines.runtime import packed_file
from stages.engines.runtime.packed_file import PANEL, Sizes, round_up
from stages.engines.safe_l import rounding
from stages.engines.safe_l.families import Family
from stages.model.ingredients import Skipped

# Of a calibrated range, for texts that calibration did not see.
HEADROOM = 1.25
QUERY_LIMIT, VALUE_LIMIT = 4095, 2047
# Tokens of which the weighted sum of values stays below 2^31; twice as many take a bit of them.
MOST_TOKENS = 512
# The context, a mean of values, cannot leave their range; it is kept in eighths of their unit.
CONTEXT = 8
LOGIT_BITS = 16  # behind the point, where the logits are small enough


class Building:
    """One walk from the embeddings to the logits: each step needs the scale of the one before.

    Attributes:
        tensors: those of `tensors.entries`.
    """

    def __init__(
        self,
        module: nn.Module,
        family: Family,
        sizes: Sizes,
        epsilon: float,
        weights: dict[str, rounding.Safe],
        largest: Largest,
    ) -> None:
        """Args:
        module: whose embeddings, LayerNorms, biases and logits' layer are taken.
        weights: of all other Linears, by name.
        """
        self.sizes, self.weights, self.largest, self.epsilon = sizes, weights, largest, epsilon
        self.modules: dict[str, Any] = dict(module.named_modules())
        self.tensors: dict[str, np.ndarray] = {}
        self.layers = np.zeros((round_up(sizes.layers, 4), LAYER_SCALARS), dtype=np.int32)
        first = f"{family.embeddings}.LayerNorm"
        names = [family.of_layer(i) for i in range(sizes.layers)]
        # A LayerNorm's output shares its scale with the sum that it goes into next.
        norms = [first, *(of[norm] for of in names for norm in packed_file.NORMS)]
        scales = [self.stream_scale(*pair) for pair in pairwise([*norms, ""])]
        eps = self.norm(packed_file.EMBEDDINGS_NORM, first, self.embed(family), scales[0])
        for i, of in enumerate(names):
            self.layer(i, of, *scales[2 * i : 2 * i + 3])
        *inner, (logits, _) = family.head
        dense = inner[0][0]
        head = self.head_scale(dense)
        of_dense = self.linear("head.dense", [dense], scales[-1], [head], [TOP])
        more = (*of_dense, *self.logits(logits, head), eps)
        of_norms = normal_bits(sizes.hidden), root_of(sizes.hidden)
        self.tensors["layers"] = self.layers
        self.tensors["model"] = packed_file.model_scalars(FORMAT, sizes, *more, *of_norms)

    def layer(self, i: int, of: dict[str, str], scale: float, attended: float, out: float) -> None:
        """Args: scale, attended, out: of the layer's input, between its parts, of its output."""
        at, row = f"layer.{i}", self.layers[i]
        query, key, value = (of[part] for part in ("query", "key", "value"))
        tokens = self.sizes.positions - self.sizes.first_position
        limits = [
            QUERY_LIMIT,
            QUERY_LIMIT,
            VALUE_LIMIT // 2 ** ceil(log2(max(tokens / MOST_TOKENS, 1))),
        ]
        ranges = [self.range_of(part) for part in (query, key, value)]
        scales = [size / limit for size, limit in zip(ranges, limits, strict=True)]
        row[0:3] = self.linear(f"{at}.qkv", [query, key, value], scale, scales, limits)
        row[3:6] = self.linear(
            f"{at}.attention_out", [of["attention_out"]], scales[2] / CONTEXT, [scale], [TOP]
        )
        row[12] = self.norm(f"{at}.after_attention", of["after_attention"], scale, attended)
        bits = floor(log2(TOP * GELU_END / self.range_of(of["ffn_in"])))
        bits = max(1, min(bits, 14))
        inside = GELU_END / 2**bits
        row[6:9] = self.linear(f"{at}.ffn_in", [of["ffn_in"]], attended, [inside], [TOP])
        row[9:12] = self.linear(f"{at}.ffn_out", [of["ffn_out"]], inside, [attended], [TOP])
        row[13] = self.norm(f"{at}.after_ffn", of["after_ffn"], attended, out)
        row[14:16] = score_factor(
            scales[0] * scales[1] / (self.sizes.hidden / self.sizes.heads) ** 0.5
        )
        row[16] = bits

    def range_of(self, linear: str) -> float:
        """Of a Linear's output on any text, if it is at all like those that were seen."""
        bias = float(self.modules[linear].bias.detach().abs().max())
        return max(self.largest[f"{OUTPUT} {linear}"], bias, 1e-6) * HEADROOM

    def stream_scale(self, norm: str, following: str) -> float:
        """Of the output of `norm`, which is part of what `following`, if any, normalizes."""
        seen = self.largest[f"{OUTPUT} {norm}"]
        if following:
            seen = max(seen, self.largest[f"{INPUT} {following}"])
        layer = self.modules[norm]
        gamma = float(layer.weight.detach().abs().max())
        return max(
            seen * HEADROOM / TOP,
            float(layer.bias.detach().abs().max()) / TOP,
            gamma * 2.0 ** (15 - normal_bits(self.sizes.hidden)) / TOP,
        )

    def embed(self, family: Family) -> float:
        """The tables; returns the scale of their sum, which no token can leave."""
        rounded = {
            name: quantize_weight(name, self.table(family, name))
            for name in packed_file.tables(self.sizes)
        }
        tops = [float(scale.max()) for _, scale in rounded.values()]
        unit = max(127 * sum(tops), 128 * max(tops)) / (TOP - 2)
        for name, (weight, scale) in rounded.items():
            self.tensors[f"{name}.weight"] = weight.numpy()
            self.tensors[f"{name}.multiplier"] = to_int16(scale * (128 / unit))
        return unit

    def table(self, family: Family, name: str) -> Tensor:
        of = name.replace("embeddings", family.embeddings, 1)
        weight: Tensor = self.modules[of].weight.detach()
        return weight

    def norm(self, name: str, of: str, into: float, out: float) -> int:
        """Returns n epsilon in units of the input's, squared."""
        layer, n = self.modules[of], self.sizes.hidden
        per = 2.0 ** (15 - normal_bits(n)) / out
        self.tensors[f"{name}.gamma"] = to_int16(layer.weight.detach().double() * per)
        self.tensors[f"{name}.beta"] = to_int16(layer.bias.detach().double() / out)
        return int(min(max(1, round(n * self.epsilon / into**2)), 2**31 - 1))

    def linear(
        self, name: str, parts: list[str], scale: float, out: list[float], limits: list[int]
    ) -> tuple[int, int, int]:
        """Linears that share an input, each padded to whole panels; returns shift, gain and S."""
        weight, factor, bias, limit = [], [], [], []
        for part, unit, most in zip(parts, out, limits, strict=True):
            safe = self.weights[part]
            n = len(safe.weight)
            more = round_up(n, PANEL) - n
            weight.append(np.pad(safe.weight.numpy(), ((0, more), (0, 0))))
            factor.append(np.pad(safe.scale.double().numpy() * (scale / unit), (0, more)))
            layer_bias = self.modules[part].bias.detach().double() / unit
            bias.append(np.pad(to_int16(layer_bias), (0, more)))
            limit.append(np.full(n + more, most, np.int16))
        together, factors = np.concatenate(weight), np.concatenate(factor)
        widest = max(self.largest[f"{SUM} {part}"] for part in parts) * HEADROOM
        shift = ceil(log2(max(widest, 1.0) / TOP))
        # Whatever the input is, a sum that is shifted left stays below 2^31.
        most = int(np.abs(together.astype(np.int64)).sum(1).max()) * STEPS
        shift = max(shift, most.bit_length() - 31)
        # The largest multiplier lies in (2^14, 2^15).
        gain = 31 + shift + ceil(log2(factors.max())) - 15
        multiplier = np.rint(factors * 2.0 ** (31 + shift - gain))
        if multiplier.max() > TOP:
            gain += 1
            multiplier = np.rint(factors * 2.0 ** (31 + shift - gain))
        self.tensors |= {
            f"{name}.weight": packed_file.pack(together),
            f"{name}.weight_sum": together.sum(1, dtype=np.int32),
            f"{name}.multiplier": multiplier.astype(np.int16),
            f"{name}.bias": np.concatenate(bias),
            f"{name}.limit": np.concatenate(limit),
        }
        return shift, gain, rounding.safe_products(torch.from_numpy(together))

    def head_scale(self, dense: str) -> float:
        if packed_file.HEAD_ACTIVATIONS[self.sizes.head_activation] == "tanh":
            return 2.0**-TANH_BITS
        return 2.0 ** ceil(log2(self.range_of(dense) / TOP))

    def logits(self, name: str, head: float) -> tuple[int, int]:
        """Weights in int16 with a power of two; returns the shift of the sum and 2's exponent."""
        layer = self.modules[name]
        tanh = packed_file.HEAD_ACTIVATIONS[self.sizes.head_activation] == "tanh"
        unit = 2.0**-15 if tanh else head
        weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
        # frexp(m) = f, e with f < 1 and m = f 2^e.
        finer = 15 - frexp(float(weight.abs().max()) * (1 + 2.0**-15))[1]
        q = torch.round(weight * 2.0**finer)
        bound = (unit * TOP * weight.abs().sum(1) + bias.abs()).max().item()
        exponent = min(LOGIT_BITS, 30 - frexp(bound)[1], finer - round(log2(unit)) - 1)
        self.tensors["head.weight"] = q.numpy().astype(np.int16)
        self.tensors["head.bias"] = torch.round(bias * 2.0**exponent).numpy().astype(np.int32)
        return finer - round(log2(unit)) - exponent, exponent


def score_factor(scale: float) -> tuple[int, int]:
    """Shift h and factor C: (score >> h) C >> 16 is in units of 2^-11 powers of two.

    Args:
        scale: of the int32 scores.
    """
    factor = scale * 1.4426950408889634 * 2.0**27
    shift = max(0, 16 - frexp(factor)[1])
    if factor >= 2**16:
        raise Skipped(
            f"ibert's attention scores would have steps of {scale:.2g}, which is too coarse: this "
            "model's queries and keys are far larger than usual"
        )
    return shift, int(min(factor * 2.0**shift, 65535))


def to_int16(values: Tensor) -> np.ndarray:
    """Rounded; what does not fit is cut, as a text would see it cut."""
    rounded: np.ndarray = torch.round(values).clamp(-TOP, TOP).numpy().astype(np.int16)
    return rounded
