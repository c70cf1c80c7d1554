"""The graph of a BERT sequence classifier, from its weights, in a form that is chosen.

Inputs, attributes and shapes of the operators are those of ONNX Runtime's own schemas
(ContribOperators.md there). Behind the last layer's keys and values only the first token of a text
is computed, because the pooler reads no other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, TensorProto

from bench.onnx_bert.linear import BITS_8, Arithmetic, Linears, Ranges, uint8_grid
from bench.onnx_bert.writer import MICROSOFT, Shape, Writer
from stages.model.ingredients import Skipped
from stages.plumbing.json_file import read_json

INPUTS = ["input_ids", "token_type_ids", "attention_mask"]
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Form:
    """By which of ONNX Runtime's operators each part of the graph is computed.

    Attributes:
        normalization: of a residual connection: the fused operator, or `Add` and the plain one,
            of which ONNX Runtime may have the better code.
        attention: all of it, projections included (which quantization turns into `QAttention`), or
            what is left behind the projections. The last layer, of which only the first token
            asks, always takes the second.
        embeddings: look-ups and normalization in one (quantized: with one scale per table), or the
            words looked up in blocks with a scale each; its normalization is then a plain one.
        gelu: exact, or with tanh.
    """

    arithmetic: Arithmetic = "fp32"
    normalization: Literal["SkipLayerNormalization", "LayerNormalization"] = (
        "SkipLayerNormalization"
    )
    attention: Literal["Attention", "MultiHeadAttention"] = "Attention"
    embeddings: Literal["EmbedLayerNormalization", "GatherBlockQuantized"] = (
        "EmbedLayerNormalization"
    )
    gelu: Literal["Gelu", "FastGelu"] = "Gelu"


@dataclass(frozen=True)
class Checkpoint:
    """Attributes:
    config: its config.json.
    weights: by their names in the checkpoint, float32; matrices are (outputs, inputs).
    """

    config: dict[str, Any]
    weights: Weights

    @property
    def layers(self) -> int:
        return int(self.config["num_hidden_layers"])


def read(folder: Path) -> Checkpoint:
    """A checkpoint as transformers saves it.

    Raises:
        Skipped: it is no BERT as this module knows it.
    """
    from safetensors.numpy import load_file

    config = read_json(folder / "config.json")
    known = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in known.items():
        if config.get(key, value) != value:
            raise Skipped(f"the graph is written for {key} {value}, not {config[key]}")
    stored = load_file(folder / "model.safetensors")
    return Checkpoint(
        config, {name: w.astype(np.float32, copy=False) for name, w in stored.items()}
    )


def write(
    checkpoint: Checkpoint,
    form: Form,
    limit: int = BITS_8,
    ranges: Ranges | None = None,
    first_token_only: bool = True,
) -> ModelProto:
    """int64 `INPUTS` of shape (batch, length) -> float32 `logits` (batch, labels).

    Tensors between have the same names in every form.

    Args:
        limit: of the weights, see linear.py.
        ranges: of the activations, for `static`.
        first_token_only: as said at the top; else all of the last layer is computed.
    """
    writer = Writer()
    linears = Linears(writer, form.arithmetic, limit, ranges)
    graph = Graph(checkpoint, form, writer, linears)
    cast = [writer.op("Cast", [name], f"{name}.int32", to=TensorProto.INT32) for name in INPUTS]
    x = graph.embed(*cast[:2])
    for number in range(checkpoint.layers):
        last = first_token_only and number == checkpoint.layers - 1
        x = graph.layer(number, x, cast[2], last)
    labels = graph.classify(x)
    read: Shape = ("batch", "length")
    return writer.model(dict.fromkeys(INPUTS, read), {"logits": ("batch", labels)})


class Graph:
    """The parts, in the order of a pass. Tensors are of shape (batch, length, width)."""

    def __init__(
        self, checkpoint: Checkpoint, form: Form, writer: Writer, linears: Linears
    ) -> None:
        self.weights, self.config = checkpoint.weights, checkpoint.config
        self.form, self.writer, self.linears = form, writer, linears
        self.heads = {"num_heads": self.config["num_attention_heads"]}
        self.epsilon = {"epsilon": self.config["layer_norm_eps"]}

    def embed(self, ids: str, types: str) -> str:
        names = ["word_embeddings", "position_embeddings", "token_type_embeddings"]
        names = [f"{name}.weight" for name in names] + ["LayerNorm.weight", "LayerNorm.bias"]
        tables = {name: self.weights[f"bert.embeddings.{name}"] for name in names}
        if self.form.embeddings == "GatherBlockQuantized":
            return self.embed_in_blocks(ids, types, *tables.values())
        # The second result would be an index of the mask, which attention reads as it is.
        results = ["embedded", "embedded.mask_index"]
        if self.form.arithmetic == "fp32":
            stored = [self.writer.constant(name, table) for name, table in tables.items()]
            kind, inputs = "EmbedLayerNormalization", [ids, types, *stored]
        else:
            kind, inputs = "QEmbedLayerNormalization", [ids, types, *self.one_scale_each(tables)]
        return self.writer.several(kind, inputs, results, MICROSOFT, **self.epsilon)[0]

    def one_scale_each(self, tables: Weights) -> list[str]:
        """Inputs 2 to 17 of QEmbedLayerNormalization: uint8 tables, no mask, scales, zeros."""
        stored, scales, zeros = [], [], []
        for name, table in tables.items():
            scale, zero = uint8_grid(float(table.min()), float(table.max()))
            q = np.clip(np.rint(table / scale) + zero, 0, 255).astype(np.uint8)
            stored.append(self.writer.constant(name, q))
            scales.append(self.writer.constant(f"{name}_scale", scale))
            zeros.append(self.writer.constant(f"{name}_zero", zero))
        return [*stored, "", *scales, *zeros]

    def embed_in_blocks(
        self,
        ids: str,
        types: str,
        words: np.ndarray,
        positions: np.ndarray,
        kinds: np.ndarray,
        gamma: np.ndarray,
        beta: np.ndarray,
    ) -> str:
        constant, op = self.writer.constant, self.writer.op
        q, scale, zero, size = uint8_blocks(words)
        table = [constant("words", q), ids]
        table += [constant("words.scale", scale), constant("words.zero", zero)]
        blocks = {"bits": 8, "block_size": size, "gather_axis": 0, "quantize_axis": 1}
        word = op("GatherBlockQuantized", table, "word", MICROSOFT, **blocks)
        kind = op("Gather", [constant("kinds", kinds), types], "kind")
        length = op("Shape", ["input_ids"], "length", start=1)
        zeros = constant("zeros", np.zeros(1, dtype=np.int64))
        position = op("Slice", [constant("positions", positions), zeros, length, zeros], "position")
        total = op("Add", [op("Add", [word, kind], "word_and_kind"), position], "embedding_sum")
        inputs = [total, constant("embedded.gamma", gamma), constant("embedded.beta", beta)]
        return op("LayerNormalization", inputs, "embedded", **self.epsilon)

    def layer(self, number: int, x: str, mask: str, last: bool) -> str:
        """Args:
        mask: int32, (batch, length), 1 for a token.
        last: the result holds the first token only.
        """
        name, stored = f"layer{number}", f"bert.encoder.layer.{number}"
        asking = self.first(x, f"{name}.first") if last else x
        if self.form.attention == "Attention" and not last:
            attended = self.attention(f"{name}.attended", stored, x, mask)
        else:
            attended = self.multi_head_attention(f"{name}.attended", stored, asking, x, mask)
        projected = self.linear(attended, f"{name}.projected", f"{stored}.attention.output.dense")
        between = self.add_and_normalize(
            projected, asking, f"{name}.between", f"{stored}.attention.output.LayerNorm"
        )
        wide = self.linear(between, f"{name}.wide", f"{stored}.intermediate.dense")
        active = self.gelu(wide, f"{name}.active")
        narrow = self.linear(active, f"{name}.narrow", f"{stored}.output.dense")
        return self.add_and_normalize(narrow, between, f"{name}.out", f"{stored}.output.LayerNorm")

    def attention(self, name: str, stored: str, x: str, mask: str) -> str:
        parts = [self.matrix(f"{stored}.attention.self.{one}") for one in ("query", "key", "value")]
        weight = np.concatenate([weight for weight, _ in parts], axis=1)
        bias = self.writer.constant(f"{name}.bias", np.concatenate([bias for _, bias in parts]))
        if self.form.arithmetic == "fp32":
            inputs = [x, self.writer.constant(f"{name}.weight", weight), bias, mask]
            return self.writer.op("Attention", inputs, name, MICROSOFT, **self.heads)
        a, a_scale, a_zero = self.linears.activation(x)
        b, b_scale = self.linears.weight(name, weight)
        inputs = [a, b, bias, a_scale, b_scale, mask, a_zero]
        return self.writer.op("QAttention", inputs, name, MICROSOFT, **self.heads)

    def multi_head_attention(self, name: str, stored: str, asking: str, x: str, mask: str) -> str:
        """Tokens of `asking` look at those of `x`."""
        reads = {"query": asking, "key": x, "value": x}
        inputs = [
            self.linear(tokens, f"{name}.{one}", f"{stored}.attention.self.{one}")
            for one, tokens in reads.items()
        ]
        inputs += ["", mask]
        return self.writer.op("MultiHeadAttention", inputs, name, MICROSOFT, **self.heads)

    def add_and_normalize(self, x: str, residual: str, name: str, stored: str) -> str:
        gamma = self.writer.constant(f"{name}.gamma", self.weights[f"{stored}.weight"])
        beta = self.writer.constant(f"{name}.beta", self.weights[f"{stored}.bias"])
        if self.form.normalization == "SkipLayerNormalization":
            inputs = [x, residual, gamma, beta]
            return self.writer.op("SkipLayerNormalization", inputs, name, MICROSOFT, **self.epsilon)
        total = self.writer.op("Add", [x, residual], f"{name}.sum")
        return self.writer.op("LayerNormalization", [total, gamma, beta], name, **self.epsilon)

    def gelu(self, x: str, name: str) -> str:
        return self.writer.op(self.form.gelu, [x], name, MICROSOFT)

    def classify(self, x: str) -> int:
        """Write `logits`, the last of them in float32; returns how many there are."""
        first = self.writer.op("Gather", [x, self.position("zero", 0)], "first", axis=1)
        pooled = self.linear(first, "pooled", "bert.pooler.dense")
        pooled = self.writer.op("Tanh", [pooled], "pooled.tanh")
        weight, bias = self.matrix("classifier")
        names = ["classifier.weight", "classifier.bias"]
        stored = [self.writer.constant(*one) for one in zip(names, (weight, bias), strict=True)]
        self.writer.op("Gemm", [pooled, *stored], "logits")
        return len(bias)

    def first(self, x: str, name: str) -> str:
        """The first token of each text, (batch, 1, width)."""
        return self.writer.op("Gather", [x, self.position("zeros", [0])], name, axis=1)

    def position(self, name: str, value: int | list[int]) -> str:
        return self.writer.constant(name, np.array(value, dtype=np.int64))

    def linear(self, x: str, name: str, stored: str) -> str:
        return self.linears.write(x, name, *self.matrix(stored))

    def matrix(self, stored: str) -> tuple[np.ndarray, np.ndarray]:
        """Weight (inputs, outputs) and bias of a linear layer."""
        return self.weights[f"{stored}.weight"].T, self.weights[f"{stored}.bias"]


def uint8_blocks(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """uint8 of `table`'s shape, scales and zero points (rows, blocks), and the size of a block.

    That is the largest power of two up to 128 that divides the width; the operator takes 16 or
    more.
    """
    size = int(np.gcd(table.shape[1], 128))
    blocks = table.reshape(len(table), -1, size)
    low, high = np.minimum(blocks.min(axis=2), 0), np.maximum(blocks.max(axis=2), 0)
    scale = np.where(high > low, (high - low) / 255, 1).astype(np.float32)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    q = np.clip(np.rint(blocks / scale[..., None]) + zero[..., None], 0, 255)
    return q.astype(np.uint8).reshape(table.shape), scale, zero.astype(np.uint8), size
