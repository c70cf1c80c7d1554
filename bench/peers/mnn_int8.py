"""MNN with 8-bit weights: activations quantized at run time, or not, whichever is faster here.

MNN keeps the weights of a graph's linear layers in 8 bits and, with `memory` low, quantizes what
comes in and multiplies integers; with `memory` normal it makes them fp32 when it loads. On a CPU
with AVX2 and without VNNI its integers were slower than its fp32.

Weights are asymmetric: MNN's symmetric ones gave other answers than fp32, in both ways. Its fusion
of attention (`--transformerFuse`) did so too. The whole graph with scales from training rows needs
a tool that feeds fixed shapes from text files; its products are the same as those at run time.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bench.isa import Isa
from bench.peers import fastest, torch_threads
from stages.model.artifact import read_recipe
from stages.model.tokens import Predict
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

LIBRARY, REQUIRES, BITS = "mnn", ("MNN", "_tools"), 8
REQUIREMENTS = ("mnn==3.6.1",)
LICENCE = "Apache-2.0 (its package says BSD-3)"
TELEMETRY = (
    "its programs mnnconvert and mnnquant install a logging package and report each use to its "
    "makers; not used here: the extension behind them is called directly and reports nothing"
)
MODEL, CHOSEN = "model.mnn", "chosen.json"
MEMORY = ("Low", "Normal")


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    import _tools

    from bench.onnx_export import export

    torch_threads(1)
    exported = folder / "fp32.onnx"
    export(checkpoint, exported)
    files = ["--modelFile", str(exported), "--MNNModel", str(folder / MODEL), "--bizCode", "race"]
    weights = ["--weightQuantBits", "8", "--weightQuantAsymmetric"]
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, *weights])
    exported.unlink()
    inputs = read_recipe(checkpoint).inputs
    candidates = {memory: predictor(folder / MODEL, inputs, memory, 1) for memory in MEMORY}
    write_json(folder / CHOSEN, {"memory": fastest(candidates), "inputs": inputs})
    return [MODEL]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    chosen = read_json(folder / CHOSEN)
    predict = predictor(folder / MODEL, chosen["inputs"], chosen["memory"], threads)
    return predict, None  # it does not tell


def predictor(file: Path, inputs: list[str], memory: str, threads: int) -> Predict:
    import MNN

    module = MNN.nn.load_module_from_file(
        str(file),
        inputs,
        ["logits"],
        shape_mutable=True,
        rearrange=True,  # weights in the order of its kernels, once, at loading
        memory_mode=getattr(MNN.expr.MemoryMode, memory),
        precision_mode=MNN.expr.PrecisionMode.Normal,
        thread_num=threads,
    )

    def variable(array: np.ndarray) -> Any:
        values = np.ascontiguousarray(array, dtype=np.int32)
        return MNN.expr.const(values, list(values.shape), MNN.expr.NCHW, MNN.expr.int)

    def predict(batch):  # type: ignore[no-untyped-def]
        logits = module.forward([variable(batch[name]) for name in inputs])[0]
        return np.array(MNN.expr.convert(logits, MNN.expr.NCHW).read())

    return predict
