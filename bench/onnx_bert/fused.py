"""Proof that what was written is what runs: a fusion that fails does so in silence."""

from collections import Counter

from onnx import ModelProto

from bench.onnx_bert.graph import Form

ATTENTION = ("Attention", "QAttention", "MultiHeadAttention")
EMBEDDING = ("EmbedLayerNormalization", "QEmbedLayerNormalization", "GatherBlockQuantized")
GELU = ("Gelu", "BiasGelu", "FastGelu")
# The first is what a session makes of DynamicQuantizeLinear and the second, where it can.
INT8_LINEAR = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat")
FLOAT_LINEAR = ("MatMul", "FusedMatMul")


class NotFused(Exception):
    """A graph that would be slow without saying so."""


def counted(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def expected(form: Form, layers: int) -> dict[tuple[str, ...], int]:
    """Kinds of operators -> how many of them there are together in a graph of so many layers.

    Of one whose last layer computes the first token only.
    """
    plain = 1 if form.embeddings == "GatherBlockQuantized" else 0
    skips = form.normalization == "SkipLayerNormalization"
    whole = layers - 1 if form.attention == "Attention" else 0  # layers with one node for all
    counts = {
        ATTENTION: layers,
        EMBEDDING: 1,
        GELU: layers,
        ("SkipLayerNormalization",): 2 * layers if skips else 0,
        ("LayerNormalization",): plain + (0 if skips else 2 * layers),
        ("Softmax",): 0,
    }
    if form.arithmetic != "fp32":
        counts[INT8_LINEAR] = 3 * layers + 3 * (layers - whole) + 1
        counts[FLOAT_LINEAR] = 0
    return counts


def check(model: ModelProto, form: Form, layers: int) -> None:
    """Count the operators of a graph, as written or as a session saved it.

    Raises:
        NotFused: there are more or fewer than `form` says.
    """
    found = counted(model)
    for kinds, wanted in expected(form, layers).items():
        number = sum(found[kind] for kind in kinds)
        if number != wanted:
            raise NotFused(
                f"{number} nodes instead of {wanted} are {' or '.join(kinds)}; found: {dict(found)}"
            )
