"""ONNX Runtime's dynamic quantization: int8 weights per channel, 7 bits without VNNI, embeddings.

The faster of two graphs: as exported, for ONNX Runtime's own optimizations at loading; and with
the fused operators (attention, embeddings, skip connections) of `onnxruntime.transformers`.
"""

import shutil
import warnings
from pathlib import Path

from bench.isa import Isa
from bench.peers import fastest, torch_threads
from stages.model.tokens import Predict

LIBRARY, REQUIRES, BITS = "onnxruntime", ("onnxruntime",), 8
MODEL, FUSED = "model.onnx", "fused.onnx"


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    torch_threads(1)
    exported, optimized = folder / "fp32.onnx", folder / "fp32_fused.onnx"
    export(checkpoint, exported)
    fuse(exported, optimized)
    quantize(exported, folder / MODEL, not isa.vnni)
    quantize(optimized, folder / FUSED, not isa.vnni)
    for path in (exported, optimized):
        path.unlink()
    chosen = fastest({name: load(folder / name, 1)[0] for name in (MODEL, FUSED)})
    if chosen == FUSED:
        shutil.copyfile(folder / FUSED, folder / MODEL)
    return [MODEL]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    from stages.engines.onnx.session import session, session_predictor

    running = session(folder / MODEL if folder.is_dir() else folder, threads)
    return session_predictor(running), running.get_session_options().intra_op_num_threads


def export(checkpoint: Path, target: Path) -> None:
    """By tracing, with plain attention: the one form that the fusions know."""
    import torch

    from stages.model.artifact import read_recipe
    from stages.model.classifier import LogitsOnly, example, load_checkpoint

    inputs, module = read_recipe(checkpoint).inputs, load_checkpoint(checkpoint)
    module.set_attn_implementation("eager")  # type: ignore[operator]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated
        torch.onnx.export(
            LogitsOnly(module, inputs).eval(),
            example(inputs),
            str(target),
            input_names=inputs,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in inputs},
            opset_version=17,
            dynamo=False,
        )


def fuse(source: Path, target: Path) -> None:
    import onnx
    from onnxruntime.transformers.optimizer import optimize_model

    # Heads and width are found in the graph: layer 0's own reshapes say them.
    model = onnx.load(source)
    optimized = optimize_model(model, model_type="bert", num_heads=0, hidden_size=0, opt_level=0)
    optimized.save_model_to_file(str(target))


def quantize(source: Path, target: Path, reduce_range: bool) -> None:
    import logging

    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gather", "Attention", "EmbedLayerNormalization"],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": TensorProto.FLOAT},  # behind fused operators
        )
    finally:
        logging.disable(logging.NOTSET)
