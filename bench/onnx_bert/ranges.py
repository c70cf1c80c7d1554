"""The range of each activation that a linear layer reads, seen on real texts."""

from collections.abc import Iterable

from onnx import ModelProto, TensorProto, helper

from bench.onnx_bert.linear import Ranges
from bench.onnx_bert.session import session
from stages.model.tokens import Batch

READERS = ("MatMul", "Attention")


def find(fp32: ModelProto, batches: Iterable[Batch]) -> Ranges:
    """Smallest and largest value of what the linear layers of `fp32` read.

    That includes padding, of which ONNX Runtime computes all, and which dynamic quantization sees
    as well.
    """
    read = dict.fromkeys(node.input[0] for node in fp32.graph.node if node.op_type in READERS)
    watched = ModelProto()
    watched.CopyFrom(fp32)
    outputs = []
    for tensor in read:
        for kind in ("Min", "Max"):
            outputs.append(f"{tensor}.{kind}")
            node = helper.make_node(f"Reduce{kind}", [tensor], [outputs[-1]], keepdims=0)
            watched.graph.node.append(node)
            shape = helper.make_tensor_value_info(outputs[-1], TensorProto.FLOAT, [])
            watched.graph.output.append(shape)
    running = session(watched, 1)
    ranges: Ranges = {}
    for batch in batches:
        seen = [float(value) for value in running.run(outputs, batch)]
        for tensor, low, high in zip(read, seen[::2], seen[1::2], strict=True):
            lowest, highest = ranges.get(tensor, (low, high))
            ranges[tensor] = min(low, lowest), max(high, highest)
    return ranges
