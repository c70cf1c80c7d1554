"""Running an ONNX file on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime

from stages.model.tokens import Batch, Predict


def session(file: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """A session with so many threads; 0: as many as torch was given."""
    if not threads:
        import torch

        threads = torch.get_num_threads()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def session_predictor(running: onnxruntime.InferenceSession) -> Predict:
    """Of a graph whose first output is the logits; it gets the inputs that it asks for."""
    names = [argument.name for argument in running.get_inputs()]

    def predict(batch: Batch) -> np.ndarray:
        logits: np.ndarray = running.run(None, {name: batch[name] for name in names})[0]
        return logits

    return predict
