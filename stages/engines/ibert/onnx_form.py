"""The classifier of docs/ibert.md as an ONNX graph in which every tensor is an integer.

One operator of that page is one function here, under its name. Three habits follow from ONNX:

- Its shifts know unsigned numbers alone and its division rounds towards zero. So a signed number is
  lifted above zero by a multiple of what divides it, divided by a power of two, and put back.
- A text's length is not a size of the graph. Padded tokens are computed and nobody reads them: the
  mask keeps them out of the maximum and the sum of attention, where rows meet.
- Bytes are multiplied unsigned times signed, the unsigned ones 0..127. Without VNNI, ONNX Runtime
  adds two such products in 16 bits that saturate: two of 127 times 127 fit. Of signed bytes it may
  make 0..255 first, and then two do not.

Numbers have 32 bits where the page does not ask for more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from stages.engines.ibert.reference import (
    EXP2,
    EXP2_FINE,
    GELU,
    STEPS,
    TANH_FACTOR,
    TANH_SHIFT,
    TOP,
    Array,
    root_of,
)
from stages.engines.ibert.tensors import FORMAT
from stages.engines.runtime import packed_file
from stages.engines.runtime.packed_file import (
    ACTIVATIONS,
    EMBEDDINGS_NORM,
    HEAD_ACTIVATIONS,
    LINEARS,
    POSITIONS,
    TYPES,
    WORDS,
    Sizes,
)

OPSET, IR = 18, 8  # the first with BitwiseAnd, and the form of file that came with it
EXPONENT = "logit_exponent"  # in the model's metadata
IDS, MASK, KINDS = "input_ids", "attention_mask", "token_type_ids"
# What is shifted down lies between -lift and lift, and shifts are 30 and 62 at most.
LIFT = {"int32": 1 << 30, "int64": 1 << 62}
NEWTON_STEPS = 4
LEAST_TOTAL_BITS = 12  # of the sum of e: the largest key alone adds 2048


@dataclass(frozen=True)
class Value:
    """A tensor of a graph. Python's operators append nodes; an int becomes a constant."""

    graph: "Graph"
    name: str
    dtype: str

    def then(self, kind: str, *others: "Value | int", **attributes: Any) -> "Value":
        """A node of this type whose first input is this value."""
        return self.graph.node(kind, [self, *others], self.dtype, **attributes)

    def __add__(self, other: "Value | int") -> "Value":
        return self.then("Add", other)

    def __sub__(self, other: "Value | int") -> "Value":
        return self.then("Sub", other)

    def __rsub__(self, other: int) -> "Value":
        return self.graph.node("Sub", [other, self], self.dtype)

    def __mul__(self, other: "Value | int") -> "Value":
        return self.then("Mul", other)

    def __floordiv__(self, other: "Value | int") -> "Value":
        """Of non-negative numbers: ONNX rounds towards zero."""
        return self.then("Div", other)

    def __rfloordiv__(self, other: int) -> "Value":
        return self.graph.node("Div", [other, self], self.dtype)

    def __and__(self, other: int) -> "Value":
        return self.then("BitwiseAnd", other)

    def __rshift__(self, shift: "Value | int") -> "Value":
        """Of unsigned numbers."""
        return self.then("BitShift", shift, direction="RIGHT")

    def __lshift__(self, shift: int) -> "Value":
        return self if shift == 0 else self * (1 << shift)

    def __ge__(self, other: "Value | int") -> "Value":
        return self.graph.node("GreaterOrEqual", [self, other], "bool", constants=self.dtype)

    def __gt__(self, other: "Value | int") -> "Value":
        return self.graph.node("Greater", [self, other], "bool", constants=self.dtype)

    def as_type(self, dtype: str) -> "Value":
        return self.graph.node("Cast", [self], dtype, to=onnx_type(dtype))

    def min(self, other: "Value | int") -> "Value":
        return self.then("Min", other)

    def max(self, other: "Value | int") -> "Value":
        return self.then("Max", other)

    def clip(self, low: int, high: int) -> "Value":
        return self.then("Clip", low, high)

    def along_rows(self, kind: str) -> "Value":
        """Sum, Max or Min of the last axis, which stays with size 1."""
        return self.then(f"Reduce{kind}", self.graph.shape(-1))

    def matmul(self, other: "Value") -> "Value":
        return self.then("MatMul", other)

    def reshape(self, *sizes: int) -> "Value":
        """0 keeps a size."""
        return self.then("Reshape", self.graph.shape(*sizes))

    def transpose(self, *order: int) -> "Value":
        return self.then("Transpose", perm=list(order))

    def first_token(self) -> "Value":
        """(texts, tokens, columns) -> (texts, 1, columns)."""
        return self.slice(axis=1, start=0, stop=1)

    def slice(self, axis: int, start: int, stop: int) -> "Value":
        return self.then("Slice", *(self.graph.shape(number) for number in (start, stop, axis)))

    def rows(self, ids: "Value") -> "Value":
        return self.then("Gather", ids, axis=0)


class Graph:
    """What has been appended so far, with the tensors of the file.

    Attributes:
        part: what is being computed, for names.
    """

    def __init__(self, sizes: Sizes, tensors: Mapping[str, Array]) -> None:
        self.sizes, self.tensors, self.part = sizes, tensors, ""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def node(
        self,
        kind: str,
        inputs: Sequence[Value | int],
        dtype: str,
        constants: str = "",
        **attributes: Any,
    ) -> Value:
        """Append one.

        Args:
            dtype: of its output.
            constants: of the inputs that are ints, where it is another.
        """
        names = [
            self.number(one, constants or dtype).name if isinstance(one, int) else one.name
            for one in inputs
        ]
        name = f"{self.part}/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [name], name=name, **attributes))
        return Value(self, name, dtype)

    def constant(self, name: str, array: Array) -> Value:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return Value(self, name, array.dtype.name)

    def number(self, number: int, dtype: str) -> Value:
        return self.constant(f"{dtype} {number}", np.array(number, dtype))

    def shape(self, *sizes: int) -> Value:
        return self.constant(f"shape {sizes}", np.array(sizes, np.int64))

    def stored(self, name: str, dtype: str) -> Value:
        """A tensor of the file, as another type."""
        return self.constant(name, self.tensors[name].astype(dtype))


def onnx_type(dtype: str) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def shift_down(a: Value, divisor: Value | int, plus: Value | int = 0) -> Value:
    """`(a + plus) >> shift` of signed numbers, where the divisor is 2^shift."""
    lift = LIFT[a.dtype]
    return (a + (plus + lift)) // divisor - lift // divisor


def rshr(a: Value, shift: Value | int) -> Value:
    divisor = 1 << shift if isinstance(shift, int) else power(shift, a.dtype)
    return shift_down(a, divisor, divisor // 2)


def mulhrs(a: Value, b: Value | int) -> Value:
    return rshr(a * b, 15)


def sat16(a: Value) -> Value:
    return a.clip(-TOP - 1, TOP)


def power(exponent: Value, dtype: str) -> Value:
    """Of two."""
    powers = np.array([1 << i for i in range(np.iinfo(dtype).bits - 1)], dtype)
    return exponent.graph.constant(f"{dtype} powers", powers).rows(exponent)


def bits(a: Value, least: int, most: int) -> Value:
    """Bits of numbers (..., 1), int32: of those that have more than `most`, `most`."""
    name = f"{a.dtype} powers {least} to {most - 1}"
    powers = a.graph.constant(name, np.array([1 << i for i in range(least, most)], a.dtype))
    return (a >= powers).as_type("int32").along_rows("Sum") + least


def root(v: Value) -> Value:
    """`isqrt` of int64 (..., 1) from 2^16 to 2^62.

    Newton's method from above: it begins at most 1.42 times too high, is 1e-12 too high after four
    steps, and the root has 31 bits; so what is left is the integer wanted or the one above.
    """
    above = np.array([isqrt((1 << i) - 1) + 1 for i in range(63)], np.int64)
    r = v.graph.constant("above the root, by bits", above).rows(bits(v, 17, 62))
    for _ in range(NEWTON_STEPS):
        r = (r + v // r) // 2
    return r - (r * r > v).as_type("int64")


def horner(x: Value, coefficients: Sequence[int]) -> Value:
    """`c0 + x (c1 + x (c2 ...))` in Q15."""
    total: Value | int = coefficients[-1]
    for c in coefficients[-2::-1]:
        total = mulhrs(x, total) + c
    assert isinstance(total, Value)
    return total


def exp2(f: Value, coefficients: Sequence[int]) -> Value:
    """2^-f in Q15."""
    return horner(f, (TOP, *coefficients))


class Rows:
    """Rows to 7 bits, (..., k): q unsigned; z, b and m of each row (..., 1), int32."""

    def __init__(self, x: Value) -> None:
        low, high = x.along_rows("Min").min(0), x.along_rows("Max").max(0)
        per = (STEPS << 15) // (high - low).max(128)
        self.z = mulhrs(0 - low, per)
        self.q = (mulhrs(x, per) + self.z).clip(0, STEPS).as_type("uint8")
        # 65535 is the largest high - low, so R is at least 63.
        self.b = bits(per, 6, 15)
        self.m = ((power(self.b + 14, "int32") + per // 2) // per).min(TOP)


def linear(rows: Rows, graph: Graph, name: str, shift: int, gain: int) -> Value:
    """Of the real outputs only."""
    columns = real_outputs(graph.sizes, name)
    k = packed_file.linears(graph.sizes)[name][1]
    weight = packed_file.unpack(graph.tensors[f"{name}.weight"])[columns, :k]
    product = graph.node(
        "MatMulInteger", [rows.q, graph.constant(f"{name}.weight", weight.T)], "int32"
    )
    sums, multiplier, bias, limit = (
        graph.constant(part, graph.tensors[part][columns].astype(np.int32))
        for part in (f"{name}.{of}" for of in ("weight_sum", "multiplier", "bias", "limit"))
    )
    acc = product - rows.z * sums
    y = mulhrs(mulhrs(first_shift(acc, shift), multiplier), rows.m)
    t = rows.b - gain
    # By 17 already min(y + half, 32767) is 32767, and by 16 to the left all but 0 saturates.
    down, up = power(t.clip(0, 17), "int32"), power((0 - t).clip(0, 16), "int32")
    y = shift_down((y + down // 2).min(TOP), down)  # where nothing is shifted: 1 // 2 is 0
    y = sat16(y * up)
    return (y + bias).min(limit).max(0 - limit)


def first_shift(acc: Value, shift: int) -> Value:
    """`sat16(shift > 0 ? rshr(acc, shift) : acc << -shift)`."""
    if shift <= 0:  # what saturates before the shift does so after it
        return sat16(sat16(acc) << -shift)
    if shift > 15:
        return sat16(rshr(acc.as_type("int64"), shift)).as_type("int32")
    low, half = -(1 << (15 + shift)), 1 << (shift - 1)
    # Cut at what rounds to -32768 and 32767; that leaves room for the lift.
    return rshr(acc.clip(low, -low - half - 1), shift)


def real_outputs(sizes: Sizes, name: str) -> Array:
    """Those of a Linear that are not there to fill a panel."""
    n, _ = packed_file.linears(sizes)[name]
    if name.endswith(".qkv"):
        return np.concatenate([part * (n // 3) + np.arange(sizes.hidden) for part in range(3)])
    return np.arange(sizes.ffn if name.endswith(".ffn_in") else sizes.hidden)


def relu(y: Value) -> Value:
    return y.max(0)


def gelu(y: Value, steps: int) -> Value:
    """Args: steps: GELU bits. Where y is 0 so is u, and what c is does not matter."""
    u = y.then("Abs").min(1 << steps)
    d = ((1 << steps) - u) << (15 - steps)
    return y.max(0) - mulhrs(u, mulhrs(d, horner(d, GELU)))


def tanh(p: Value) -> Value:
    w = p.then("Abs") * TANH_FACTOR // (1 << TANH_SHIFT)
    # w >> 15 is 23 at most, for |p| is 32768 at most.
    e = exp2(w & TOP, EXP2_FINE) // power(w // (1 << 15), "int32")
    return p.then("Sign") * ((((1 << 15) - e) << 15) // (e + (1 << 15))).min(TOP)


@dataclass(frozen=True)
class Mask:
    """Of keys, (texts, 1, 1, tokens): true or 1 where one is no padding."""

    true: Value
    ones: Value


def attention(qkv: Value, mask: Mask, only_first: bool, shift: int, factor: int) -> Value:
    """Args: only_first: the first token's query alone."""
    graph, sizes = qkv.graph, qkv.graph.sizes
    size = sizes.hidden // sizes.heads
    query, key, value = (
        qkv.slice(axis=2, start=part * sizes.hidden, stop=(part + 1) * sizes.hidden)
        for part in range(3)
    )
    query = query.first_token() if only_first else query
    query, key, value = (one.reshape(0, 0, sizes.heads, size) for one in (query, key, value))
    scores = query.transpose(0, 2, 1, 3).matmul(key.transpose(0, 2, 3, 1))
    s = graph.node("Where", [mask.true, scores, -(1 << 31)], "int32")
    top = s.along_rows("Max").as_type("int64")
    t = ((top - s.as_type("int64")).as_type("uint32") >> shift).min(65535)
    w = (t * factor) >> 16
    n, f = (w >> 11).min(12), ((w & 2047) << 4).as_type("int32")
    # 2048 >> 12 is 0, and so is e.
    e = mulhrs(exp2(f, EXP2), (graph.number(2048, "uint32") >> n).as_type("int32")) * mask.ones
    # The maximum is for a mask without a token: an answer to no text, not a division by zero.
    total = e.along_rows("Sum").max(1 << (LEAST_TOTAL_BITS - 1))
    k = bits(total, LEAST_TOTAL_BITS, 11 + sizes.positions.bit_length()) - 4
    m = (power(k + 18, "int64") // total.as_type("int64")).min(TOP).as_type("int32")
    # 64 bits, because the sum fills 31 and is lifted.
    sums = e.matmul(value.transpose(0, 2, 1, 3)).as_type("int64")
    out = mulhrs(rshr(sums, k).as_type("int32"), m)
    return out.transpose(0, 2, 1, 3).reshape(0, 0, sizes.hidden)


def layer_norm(h: Value, name: str, eps: int) -> Value:
    graph, n = h.graph, h.graph.sizes.hidden
    # 2^15 is added to the mean before the division, which so rounds down, and taken off after it.
    mean = ((h.along_rows("Sum") * 2) + (n + (2 * n << 15))) // (2 * n) - (1 << 15)
    y = sat16(h - mean)
    wide = y.as_type("int64")
    r = root(((wide * wide).along_rows("Sum") + eps) << 16)
    a = 23 - bits(r, 9, 23)  # bits(r >> 8) is bits(r) - 8
    m = ((power(15 - a, "int64") * root_of(n)) // r).min(TOP).as_type("int32")
    gamma, beta = (graph.stored(f"{name}.{part}", "int32") for part in ("gamma", "beta"))
    return sat16(mulhrs(mulhrs(y * power(a, "int32"), m), gamma) + beta)


def embeddings(graph: Graph, ids: Value, mask: Value, kinds: Value | None) -> Value:
    """Args: kinds: of tokens; None where all are 0."""
    sizes = graph.sizes
    # Padding gets the place of the last token, so that no table need be longer than the texts.
    places = mask.then("CumSum", 1) + (sizes.first_position - 1)
    found = embedded(graph, WORDS, ids) + embedded(graph, POSITIONS, places)
    if sizes.types:
        if kinds is None:
            kinds = graph.constant("no token types", np.zeros((1, 1), np.int64))
        found = found + embedded(graph, TYPES, kinds)
    return found


def embedded(graph: Graph, table: str, ids: Value) -> Value:
    multiplier = graph.stored(f"{table}.multiplier", "int16").reshape(-1, 1)
    weight = graph.stored(f"{table}.weight", "int8")
    return mulhrs(weight.rows(ids).as_type("int32") << 8, multiplier.rows(ids).as_type("int32"))


def classifier(graph: Graph, ids: Value, mask: Value, kinds: Value | None) -> Value:
    """Token ids -> logits (texts, outputs), int32."""
    sizes, numbers = graph.sizes, graph.tensors["model"].tolist()
    dense_shift, dense_gain, _, logit_shift, _, eps = numbers[12:18]
    graph.part = "embeddings"
    keys = mask.reshape(0, 1, 1, -1)
    real = Mask(keys.as_type("bool"), keys.as_type("int32"))
    x = layer_norm(embeddings(graph, ids, mask, kinds), EMBEDDINGS_NORM, eps)
    for i in range(sizes.layers):
        x = layer(x, real, i)
    graph.part = "head"
    inner = linear(Rows(x), graph, "head.dense", dense_shift, dense_gain)
    inner = (tanh if HEAD_ACTIVATIONS[sizes.head_activation] == "tanh" else relu)(inner)
    weight = graph.constant("head.weight", graph.tensors["head.weight"].T.astype(np.int64))
    sums = rshr(inner.as_type("int64").matmul(weight), logit_shift)
    logits = (sums + graph.stored("head.bias", "int64")).as_type("int32")
    return logits.then("Squeeze", graph.shape(1))


def layer(x: Value, mask: Mask, i: int) -> Value:
    graph, sizes = x.graph, x.graph.sizes
    numbers = graph.tensors["layers"][i].tolist()
    eps_attention, eps_ffn, score_shift, score_factor, gelu_bits = numbers[12:17]

    def product(of: Value, name: str) -> Value:
        graph.part = f"layer.{i}.{name}"
        at = 3 * LINEARS.index(name)
        return linear(Rows(of), graph, graph.part, *numbers[at : at + 2])

    qkv, last = product(x, "qkv"), i == sizes.layers - 1
    graph.part = f"layer.{i}.attention"
    mixed = attention(qkv, mask, last, score_shift, score_factor)
    x = x.first_token() if last else x
    x = sat16(product(mixed, "attention_out") + x)
    x = layer_norm(x, f"layer.{i}.after_attention", eps_attention)
    y = product(x, "ffn_in")
    y = gelu(y, gelu_bits) if ACTIVATIONS[sizes.activation] == "gelu" else relu(y)
    x = sat16(product(y, "ffn_out") + x)
    return layer_norm(x, f"layer.{i}.after_ffn", eps_ffn)


def write_onnx(weights: Path, inputs: list[str], target: Path) -> None:
    """Write the classifier in a file of tensors.py.

    The graph's inputs are int64 (batch, length), padded on the right; its output `logits` is int32,
    in steps of 2^-exponent, and the exponent is in the model's metadata.

    Args:
        inputs: `input_ids`, `attention_mask` and, where the model gets them, `token_type_ids`.
    """
    sizes, tensors = packed_file.read(FORMAT, weights)
    graph = Graph(sizes, tensors)
    given = {name: Value(graph, name, "int64") for name in inputs}
    logits = classifier(graph, given[IDS], given[MASK], given.get(KINDS))
    graph.nodes[-1].output[0] = "logits"
    exponent = int(tensors["model"][16])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "ibert",
            [tensor_info(name, ["batch", "length"], "int64") for name in inputs],
            [tensor_info("logits", ["batch", sizes.outputs], logits.dtype)],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        doc_string=f"A BERT in integers alone. A real logit is logits / 2^{exponent}.",
    )
    helper.set_model_props(model, {EXPONENT: str(exponent)})
    onnx.save(model, target)


def tensor_info(name: str, shape: list[str | int], dtype: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx_type(dtype), shape)
