"""A linear layer as ONNX Runtime computes it: in float32, or with 8-bit integers in two ways."""

from typing import Literal

import numpy as np

from bench.onnx_bert.writer import MICROSOFT, Writer

Arithmetic = Literal["fp32", "dynamic", "static"]
# Tensor -> its smallest and largest value.
Ranges = dict[str, tuple[float, float]]
BITS_8, BITS_7 = 127, 64  # the largest weights, as ONNX Runtime's quantizer has them


class Linears:
    """Writes linear layers.

    Integers are multiplied as uint8 activations with one scale per tensor and int8 weights with one
    scale per output, which ONNX Runtime has its fastest kernels for.
    """

    def __init__(
        self, writer: Writer, arithmetic: Arithmetic, limit: int, ranges: Ranges | None = None
    ) -> None:
        """Args:
        arithmetic: `dynamic` takes an activation's range from the tensor of each call, `static`
            from `ranges`, which needs not look at the tensor first.
        limit: the largest weight: BITS_7 where the CPU adds two products in an int16.
        ranges: of every activation that is quantized; for `static` only.
        """
        self.writer, self.arithmetic, self.limit = writer, arithmetic, limit
        self.ranges = ranges or {}
        self.known: dict[str, list[str]] = {}

    def write(self, x: str, output: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """`x` (..., inputs) -> `output` (..., outputs); `weight` is (inputs, outputs)."""
        shift = self.writer.constant(f"{output}.bias", bias)
        if self.arithmetic == "fp32":
            matrix = self.writer.constant(f"{output}.weight", weight)
            product = self.writer.op("MatMul", [x, matrix], f"{output}.product")
            return self.writer.op("Add", [product, shift], output)
        a, a_scale, a_zero = self.activation(x)
        b, b_scale = self.weight(output, weight)
        inputs = [a, b, a_scale, b_scale, a_zero, "", shift]
        return self.writer.op("MatMulIntegerToFloat", inputs, output, MICROSOFT)

    def activation(self, x: str) -> list[str]:
        """`x` as uint8, its scale and its zero point; the same for all layers that read `x`."""
        names = [f"{x}.uint8", f"{x}.scale", f"{x}.zero"]
        if x in self.known:
            return self.known[x]
        if self.arithmetic == "dynamic":
            self.writer.several("DynamicQuantizeLinear", [x], names)
        else:
            scale, zero = uint8_grid(*self.ranges[x])
            self.writer.constant(names[1], scale)
            self.writer.constant(names[2], zero)
            self.writer.op("QuantizeLinear", [x, *names[1:]], names[0])
        return self.known.setdefault(x, names)

    def weight(self, name: str, weight: np.ndarray) -> tuple[str, str]:
        """`weight` as int8, and one scale per column."""
        q, scale = int8_columns(weight, self.limit)
        stored = self.writer.constant(f"{name}.weight", q)
        return stored, self.writer.constant(f"{name}.weight_scale", scale)


def int8_columns(weight: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 of -limit to limit and a scale per column: weight ~ q * scale."""
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest / limit, 1).astype(np.float32)
    return np.clip(np.rint(weight / scale), -limit, limit).astype(np.int8), scale


def uint8_grid(low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of a range, which is widened to hold 0: x ~ (q - zero) * scale."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    zero = np.clip(np.rint(-low / scale), 0, 255)
    return np.array(scale, dtype=np.float32), np.array(zero, dtype=np.uint8)
