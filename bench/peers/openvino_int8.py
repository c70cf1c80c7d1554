"""OpenVINO in int8: the fastest here of three graphs, two of them quantized statically by nncf.

Of all that nncf quantizes (linear layers, embeddings and attention's products), of the same without
attention's products (which OpenVINO then runs fused with the softmax, in fp32), and of int8 weights
alone (nncf's weight compression, done by hand because that takes no calibration), in whatever group
of inputs OpenVINO quantizes activations at run time.

Static scales are learned from training rows, with nncf's settings for transformers: SmoothQuant,
bias correction, activations asymmetric. Symmetric ones are slower without VNNI: oneDNN then has no
u8 x s8 product (56 against 75 GOP/s on a layer of 768x3072). Without VNNI its products saturate, so
weights get 7 bits there (`overflow_fix`). The model comes as ONNX: by way of OpenVINO's own reader
of PyTorch modules the graph has other names, the same layers and the same speed.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bench.calibration import training_batches
from bench.isa import Isa
from bench.peers import fastest, torch_threads
from stages.model.tokens import Batch, Predict
from stages.plumbing.files import write_text

LIBRARY, REQUIRES, BITS = "openvino", ("openvino", "nncf"), 8
REQUIREMENTS = ("nncf==3.4.0", "openvino==2026.4.1")
LICENCE = "Apache-2.0"
TELEMETRY = "nncf reports each use to its makers unless NNCF_CI is set, as it is here"
SWITCHES = {"NNCF_CI": "1"}
MODEL, CHOSEN = "model.xml", "group.txt"
# Inputs that share a scale where activations are quantized at run time; 0: they are not.
AT_RUN_TIME = ("0", "32", "128")
ROWS = 64  # for the scales; nncf's default is 300, which a BERT-base would take minutes for


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    import openvino

    from bench.onnx_export import export

    torch_threads(1)
    exported = folder / "fp32.onnx"
    export(checkpoint, exported)
    rows = training_batches(checkpoint, ROWS)
    attention = products_of_attention(read(exported))
    graphs = {
        "everything": quantized(read(exported), rows, [], isa),
        "without_attention": quantized(read(exported), rows, attention, isa),
        "weights": compressed(read(exported)),
    }
    exported.unlink()
    candidates = {}
    for name, graph in graphs.items():
        openvino.save_model(graph, folder / f"{name}.xml", compress_to_fp16=False)
        for group in AT_RUN_TIME if name == "weights" else AT_RUN_TIME[:1]:
            candidates[f"{name} {group}"] = predictor(compiled(folder / f"{name}.xml", 1, group))
    chosen, group = fastest(candidates).split()
    del candidates
    for name in graphs:
        for path in (folder / f"{name}.xml", folder / f"{name}.bin"):
            path.rename(folder / f"model{path.suffix}") if name == chosen else path.unlink()
    write_text(folder / CHOSEN, group)
    write_text(folder / "chosen.txt", chosen)
    return ["model.bin"]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    model = compiled(folder / MODEL, threads, (folder / CHOSEN).read_text())
    return predictor(model), int(model.get_property("INFERENCE_NUM_THREADS"))


def read(file: Path) -> Any:
    import openvino

    return openvino.Core().read_model(file)


def products_of_attention(model: Any) -> list[str]:
    """The names of each MatMul of two activations."""
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "MatMul"
        and node.input_value(1).get_node().get_type_name() != "Constant"
    ]


def quantized(model: Any, rows: list[Batch], left: list[str], isa: Isa) -> Any:
    """Static int8 of all that nncf knows but the nodes in `left`."""
    import nncf
    from nncf.quantization.advanced_parameters import OverflowFix

    overflow = OverflowFix.DISABLE if isa.vnni else OverflowFix.ENABLE
    return nncf.quantize(
        model,
        nncf.Dataset(rows),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(names=left) if left else None,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
    )


def compressed(model: Any) -> Any:
    """The constant of each MatMul as int8 with one scale per output; `model` itself changes."""
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
    return model


def compiled(file: Path, threads: int, group: str) -> Any:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # not bfloat16, where the CPU has that
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": group,
    }
    return openvino.Core().compile_model(str(file), "CPU", settings)


def predictor(model: Any) -> Predict:
    def predict(batch):  # type: ignore[no-untyped-def]
        return model(batch)[0]

    return predict
