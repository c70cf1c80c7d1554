"""What all variants in ONNX Runtime have in common: running, counting, sizes, exporting."""

import shutil
from pathlib import Path

import onnx

from stages.engines.onnx.session import session, session_predictor
from stages.model.artifact import read_manifest
from stages.model.cpu import int8_overflows
from stages.model.overflow import announce
from stages.model.tokens import Predict

__all__ = ["count_quantized", "export", "load", "tensor_bytes"]

MODEL = "model.onnx"
INTEGER_OPS = ("MatMulInteger", "DynamicQuantizeMatMul", "QGemm", "QAttention")
SUFFIXES = ("_quantized", "_scale", "_zero_point")  # that quantize_dynamic appends to a name


def load(artifact: Path) -> Predict:
    """Says on stderr if the weights, which the file describes (see `Scheme`), overflow here."""
    running = session(artifact / MODEL)
    facts = running.get_modelmeta().custom_metadata_map
    signed = facts["linear_weights"].startswith("int8,")
    if facts["reduce_range"] == "false" and signed and int8_overflows():
        fixed = read_manifest(artifact).parameters.get("reduce_range") is False
        announce(
            artifact, "set reduce_range to auto in params.yaml" if fixed else "rebuild it here"
        )
    return session_predictor(running)


def count_quantized(artifact: Path) -> int:
    """Integer products, and look-ups in 8-bit tables."""
    graph = onnx.load(artifact / MODEL).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    eight = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return sum(
        node.op_type in INTEGER_OPS
        or (node.op_type == "Gather" and kinds.get(node.input[0]) in eight)
        for node in graph.node
    )


def tensor_bytes(artifact: Path) -> dict[str, int]:
    """Tensor name, as in the FP32 model -> bytes of its values, scales and zero points."""
    sizes: dict[str, int] = {}
    stored = {tensor.name: tensor for tensor in onnx.load(artifact / MODEL).graph.initializer}
    for name, tensor in stored.items():
        for suffix in SUFFIXES:
            if f"{name.removesuffix(suffix)}_quantized" in stored:
                name = name.removesuffix(suffix)
        sizes[name] = sizes.get(name, 0) + onnx.numpy_helper.to_array(tensor).nbytes
    return sizes


def export(artifact: Path, folder: Path) -> list[str]:
    shutil.copyfile(artifact / MODEL, folder / MODEL)
    return [MODEL]
