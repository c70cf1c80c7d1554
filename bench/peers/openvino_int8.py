"""OpenVINO with int8 weights per channel, its activations quantized at run time by itself.

What its tool nncf calls weight compression, done by hand here, because nncf brings a lot along. In
groups of how many inputs activations are quantized, or not at all, is chosen by what is fastest.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bench.isa import Isa
from bench.peers import fastest, torch_threads
from stages.model.tokens import Predict
from stages.plumbing.files import write_text

LIBRARY, REQUIRES, BITS = "openvino", ("openvino",), 8
MODEL, CHOSEN = "model.xml", "group.txt"
GROUPS = ("0", "32", "128")


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    import openvino

    from bench.onnx_export import export

    torch_threads(1)
    exported = folder / "fp32.onnx"
    export(checkpoint, exported)
    model = openvino.Core().read_model(exported)
    compress(model)
    openvino.save_model(model, folder / MODEL, compress_to_fp16=False)
    del model
    exported.unlink()
    candidates = {group: compiled(folder, 1, group) for group in GROUPS}
    group = fastest({group: predictor(each) for group, each in candidates.items()})
    write_text(folder / CHOSEN, group)
    return ["model.bin"]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    model = compiled(folder, threads, (folder / CHOSEN).read_text())
    return predictor(model), int(model.get_property("INFERENCE_NUM_THREADS"))


def compress(model: Any) -> None:
    """Store the constant of each MatMul as int8 and one scale per output, in place."""
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul":
            continue
        constant = node.input_value(1).get_node()
        if constant.get_type_name() != "Constant":
            continue
        weight = constant.data.astype(np.float32)
        if not node.get_attributes()["transpose_b"]:
            weight = weight.T
        scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-12) / 127
        stored = ops.constant(np.round(weight / scale).astype(np.int8))
        restored = ops.multiply(ops.convert(stored, "f32"), ops.constant(scale.astype(np.float32)))
        node.output(0).replace(ops.matmul(node.input_value(0), restored, False, True).output(0))


def compiled(folder: Path, threads: int, group: str) -> Any:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16, where the CPU has that
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": group,
    }
    return openvino.Core().compile_model(str(folder / MODEL), "CPU", settings)


def predictor(model: Any) -> Predict:
    def predict(batch):  # type: ignore[no-untyped-def]
        return model(batch)[0]

    return predict
