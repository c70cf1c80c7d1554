"""DeepSparse with 8-bit integers, dense, on a graph as SparseML writes it: see onnx_bert/plain.py.

Activations have scales from training rows, weights one scale per output. DeepSparse multiplies
integers only where it finds `MatMulInteger` between `QuantizeLinear` and an int32 bias: with pairs
of `QuantizeLinear` and `DequantizeLinear` around a `MatMul` it computed in fp32 and was slower than
fp32 itself, `DynamicQuantizeLinear` stopped its compiler, and attention's products in integers
(`QLinearMatMul`) were slower than in fp32. Without VNNI its fast emulation, a switch of its own,
adds two products in an int16, so weights get 7 bits there.

It compiles for one shape. As in its makers' own pipelines there is one engine per bucket of
lengths, all in one context, each for one text: a text is padded to the next bucket's length, a
batch runs text by text.
"""

from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bench.isa import Isa
from bench.peers import torch_threads
from stages.model.tokens import Predict
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

LIBRARY, REQUIRES, BITS = "deepsparse", ("deepsparse",), 8
REQUIREMENTS = (
    "deepsparse==1.8.0",
    "sparsezoo==1.8.1",
    "numpy==1.26.4",
    "onnx==1.14.1",
    "pandas==3.0.6",
    "pyarrow==21.0.0",
)
LICENCE = (
    "Neural Magic DeepSparse Community License, 'solely for evaluation use in development and "
    "testing environments, and not for production use'; says nothing of published results"
)
TELEMETRY = "reports each import and each engine to its makers unless NM_DISABLE_ANALYTICS is set"
FIRST_TOKEN_ONLY = True
SWITCHES = {"NM_DISABLE_ANALYTICS": "1", "NM_FAST_VNNI_EMULATION": "1"}
MODEL, LENGTHS = "model.onnx", "lengths.json"
ROWS = 64  # for the scales
BUCKETS = (16, 32, 40, 48, 56, 64, 80, 96, 128, 256, 384, 512)


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    import onnx

    from bench.calibration import training_batches
    from bench.onnx_bert import plain, ranges
    from bench.onnx_bert.graph import Form, read, write
    from bench.onnx_bert.linear import BITS_7, BITS_8

    torch_threads(1)
    weights = read(checkpoint)
    seen = ranges.find(write(weights, Form()), training_batches(checkpoint, ROWS))
    model = plain.write(weights, BITS_8 if isa.vnni else BITS_7, seen)
    onnx.save(model, folder / MODEL)
    longest = int(weights.config["max_position_embeddings"])
    lengths = [length for length in BUCKETS if length < longest]
    write_json(folder / LENGTHS, [*lengths, longest])
    return [MODEL]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    from deepsparse import Context, MultiModelEngine

    from bench.onnx_bert.graph import INPUTS

    context = Context(num_cores=threads, num_streams=1)
    lengths = read_json(folder / LENGTHS, list)
    shapes = [[[1, length]] * len(INPUTS) for length in lengths]
    engines = [MultiModelEngine(str(folder / MODEL), 1, context, shape) for shape in shapes]

    def one(row: list[np.ndarray], tokens: int) -> np.ndarray:
        bucket = bisect_left(lengths, tokens)
        padded = np.zeros((len(row), 1, lengths[bucket]), dtype=np.int64)
        padded[:, 0, :tokens] = [array[:tokens] for array in row]
        logits: np.ndarray = engines[bucket].run(list(padded), val_inp=False)[0]
        return logits

    def predict(batch):  # type: ignore[no-untyped-def]
        tokens: Iterable[int] = batch["attention_mask"].sum(axis=1)
        rows = zip(*(batch[name] for name in INPUTS), strict=True)
        return np.concatenate([one(list(row), n) for row, n in zip(rows, tokens, strict=True)])

    return predict, context.num_cores
