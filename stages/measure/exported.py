"""Run an exported file on a task's validation split, from the export folder alone."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from stages import tasks
from stages.models.tokens import Batch, Predict, batches, encode, load_tokenizer, predict_all
from stages.plumbing import paths


def load_exported(file: Path) -> Predict:
    """A `.pt` by torch.jit.load, a `.onnx` by onnxruntime: no code of a variant."""
    if file.suffix == ".pt":
        import torch

        module = torch.jit.load(str(file))

        @torch.inference_mode()
        def run_torchscript(batch: Batch) -> np.ndarray:
            logits: np.ndarray = module(*map(torch.from_numpy, batch.values())).numpy()
            return logits

        return run_torchscript

    import onnxruntime

    session = onnxruntime.InferenceSession(str(file))
    names = [argument.name for argument in session.get_inputs()]

    def run_onnx(batch: Batch) -> np.ndarray:
        logits: np.ndarray = session.run(None, {name: batch[name] for name in names})[0]
        return logits

    return run_onnx


def main(task: str, file: str, batch_size: str, padding: str, max_length: str, out: str) -> None:
    """Write the logits of all validation rows, in their order, to `out` (.npy)."""
    predict = load_exported(Path(file))
    tokenizer = load_tokenizer(Path(file).parent)
    rows = pd.read_parquet(paths.split(task, "validation"))
    tokens = encode(tokenizer, tasks.get(task), rows, int(max_length))
    work = batches(tokenizer, tokens, int(batch_size), padding, int(max_length))
    np.save(out, predict_all(predict, work, len(rows)))


if __name__ == "__main__":
    main(*sys.argv[1:])
