"""ONNX Runtime with 8-bit integers, on a graph of its own operators: see bench/onnx_bert/.

Weights have 7 bits where the CPU lacks VNNI; embeddings are quantized too. Dynamic or static, and
by which operators, is chosen by what is fastest; what was tried lies beside the model.
"""

from pathlib import Path

from bench.isa import Isa
from stages.model.tokens import Predict
from stages.plumbing.files import write_json

LIBRARY, REQUIRES, BITS = "onnxruntime", ("onnxruntime",), 8
LICENCE, TELEMETRY = "MIT", "none here; its builds for Windows report to its makers"
FIRST_TOKEN_ONLY = True
MODEL, CHOICE = "model.onnx", "choice.json"


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    # Imported here because they import ONNX Runtime, which asks for the CPU's instructions then.
    import onnx

    from bench.onnx_bert.choice import choose
    from bench.onnx_bert.linear import BITS_7, BITS_8

    chosen, measured = choose(checkpoint, BITS_8 if isa.vnni else BITS_7)
    onnx.save(chosen.model, folder / MODEL)
    write_json(folder / CHOICE, measured)
    return [MODEL]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    from bench.onnx_bert.session import session
    from stages.engines.onnx.session import session_predictor

    running = session(folder / MODEL, threads)
    return session_predictor(running), running.get_session_options().intra_op_num_threads
