"""The same graph of ONNX's own operators alone, as older exports have them, for DeepSparse.

Normalization, gelu and attention are spelled out, in the pattern that its compiler knows. Linear
layers multiply integers in the form that SparseML writes: activations with scales from training
rows, and the bias added before integers become float again.
"""

import numpy as np
from onnx import ModelProto, TensorProto, helper

from bench.onnx_bert.graph import INPUTS, Checkpoint, Form, Graph
from bench.onnx_bert.linear import Linears, Ranges, int8_columns, uint8_grid
from bench.onnx_bert.writer import Shape, Writer

OPSET, IR_VERSION = 13, 7


def write(checkpoint: Checkpoint, limit: int, ranges: Ranges) -> ModelProto:
    """int64 `INPUTS` of shape (batch, length) -> float32 `logits` (batch, labels).

    Args:
        limit: of the weights, see linear.py.
        ranges: of the activations, as `ranges.find` sees them in the other graph.
    """
    writer = Writer()
    form = Form("static", "LayerNormalization", "MultiHeadAttention", "EmbedLayerNormalization")
    graph = Plain(checkpoint, form, writer, Integers(writer, "static", limit, ranges))
    x, mask = graph.embed(*INPUTS[:2]), graph.mask(INPUTS[2])
    for number in range(checkpoint.layers):
        x = graph.layer(number, x, mask, last=number == checkpoint.layers - 1)
    labels = graph.classify(x)
    read: Shape = ("batch", "length")
    model = writer.model(dict.fromkeys(INPUTS, read), {"logits": ("batch", labels)})
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.ir_version = IR_VERSION
    return model


class Integers(Linears):
    def write(self, x: str, output: str, weight: np.ndarray, bias: np.ndarray) -> str:
        constant, op = self.writer.constant, self.writer.op
        a, _, a_zero = self.activation(x)
        q, scale = int8_columns(weight, self.limit)
        scale = (scale * uint8_grid(*self.ranges[x])[0]).astype(np.float32)
        inputs = [a, constant(f"{output}.weight", q), a_zero]
        inputs.append(constant("weight_zero", np.array(0, dtype=np.int8)))
        product = op("MatMulInteger", inputs, f"{output}.product")
        shift = constant(f"{output}.bias", np.rint(bias / scale).astype(np.int32))
        total = op("Add", [product, shift], f"{output}.total")
        floats = op("Cast", [total], f"{output}.float", to=TensorProto.FLOAT)
        return op("Mul", [floats, constant(f"{output}.scale", scale)], output)


class Plain(Graph):
    def embed(self, ids: str, types: str) -> str:
        constant, op = self.writer.constant, self.writer.op
        words, positions, kinds = (
            constant(name, self.weights[f"bert.embeddings.{name}_embeddings.weight"])
            for name in ("word", "position", "token_type")
        )
        start, axis = self.position("zeros", [0]), self.position("one", 1)
        length = op("Gather", [op("Shape", [ids], "shape"), axis], "length", axis=0)
        end = op("Unsqueeze", [length, start], "end")
        position = op("Slice", [positions, start, end, start], "positions")
        word = op("Gather", [words, ids], "words")
        both = op("Add", [word, op("Gather", [kinds, types], "kinds")], "words_and_kinds")
        total = op("Add", [both, position], "embedding_sum")
        return self.normalize(total, "embedded", "bert.embeddings.LayerNorm")

    def mask(self, mask: str) -> str:
        """0 for a token and much less for padding, of shape (batch, 1, 1, length)."""
        op = self.writer.op
        wide = op("Unsqueeze", [mask, self.position("heads_and_rows", [1, 2])], "mask.wide")
        floats = op("Cast", [wide], "mask.float", to=TensorProto.FLOAT)
        padding = op("Sub", [self.number("unit", 1.0), floats], "mask.padding")
        return op("Mul", [padding, self.number("far", -10000.0)], "mask")

    def first(self, x: str, name: str) -> str:
        start, end = self.position("zeros", [0]), self.position("ones", [1])
        return self.writer.op("Slice", [x, start, end, end], name)

    def multi_head_attention(self, name: str, stored: str, asking: str, x: str, mask: str) -> str:
        op, count = self.writer.op, self.heads["num_heads"]
        size = self.config["hidden_size"] // count
        split = self.position("split", [0, 0, count, size])

        def heads(one: str, read: str, order: list[int]) -> str:
            flat = self.linear(read, f"{name}.{one}", f"{stored}.attention.self.{one}")
            parts = op("Reshape", [flat, split], f"{name}.{one}.split")
            return op("Transpose", [parts], f"{name}.{one}.heads", perm=order)

        query = heads("query", asking, [0, 2, 1, 3])
        key, value = heads("key", x, [0, 2, 3, 1]), heads("value", x, [0, 2, 1, 3])
        products = op("MatMul", [query, key], f"{name}.products")
        scores = op("Div", [products, self.number("root", size**0.5)], f"{name}.scores")
        masked = op("Add", [scores, mask], f"{name}.masked")
        shares = op("Softmax", [masked], f"{name}.shares", axis=-1)
        mixed = op("MatMul", [shares, value], f"{name}.mixed")
        joined = op("Transpose", [mixed], f"{name}.joined", perm=[0, 2, 1, 3])
        return op("Reshape", [joined, self.position("join", [0, 0, count * size])], name)

    def add_and_normalize(self, x: str, residual: str, name: str, stored: str) -> str:
        return self.normalize(self.writer.op("Add", [x, residual], f"{name}.sum"), name, stored)

    def normalize(self, x: str, name: str, stored: str) -> str:
        op = self.writer.op
        gamma = self.writer.constant(f"{name}.gamma", self.weights[f"{stored}.weight"])
        beta = self.writer.constant(f"{name}.beta", self.weights[f"{stored}.bias"])
        mean = op("ReduceMean", [x], f"{name}.mean", axes=[-1], keepdims=1)
        apart = op("Sub", [x, mean], f"{name}.apart")
        square = op("Pow", [apart, self.number("two", 2.0)], f"{name}.square")
        variance = op("ReduceMean", [square], f"{name}.variance", axes=[-1], keepdims=1)
        epsilon = self.number("epsilon", self.config["layer_norm_eps"])
        deviation = op("Sqrt", [op("Add", [variance, epsilon], f"{name}.above_0")], f"{name}.root")
        normal = op("Div", [apart, deviation], f"{name}.normal")
        return op("Add", [op("Mul", [normal, gamma], f"{name}.scaled"), beta], name)

    def gelu(self, x: str, name: str) -> str:
        op = self.writer.op
        part = op("Div", [x, self.number("root_of_2", 2**0.5)], f"{name}.part")
        above = op("Add", [op("Erf", [part], f"{name}.erf"), self.number("unit", 1.0)], f"{name}.1")
        product = op("Mul", [x, above], f"{name}.twice")
        return op("Mul", [product, self.number("half", 0.5)], name)

    def number(self, name: str, value: float) -> str:
        return self.writer.constant(name, np.array(value, dtype=np.float32))
