"""What a model answers, one text at a time: in a batch INT8 may answer otherwise."""

from pathlib import Path

import numpy as np

from bench.other_tools.job import Job
from stages.model.from_folder import from_folder
from stages.model.tokens import Batch, Predict


def answers(predict: Predict, names: tuple[str, ...], job: Job) -> list[str]:
    """The class of each text of the file, by name."""
    from transformers import AutoTokenizer

    tokenizer = from_folder(AutoTokenizer, job.model)
    found = []
    for texts in job.texts:
        encoded = tokenizer(*texts, truncation=True)
        batch = {name: np.array([ids], dtype=np.int64) for name, ids in encoded.items()}
        found.append(names[int(predict(batch)[0].argmax())])
    return found


def fp32(model: Path) -> Predict:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)  # single texts: a second thread mostly waits
    module = from_folder(AutoModelForSequenceClassification, model, dtype=torch.float32).eval()

    def predict(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
            logits: np.ndarray = module(**tensors).logits.numpy()
        return logits

    return predict


def onnx_file(file: Path) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]

    def predict(batch: Batch) -> np.ndarray:
        logits: np.ndarray = session.run(None, {name: batch[name] for name in wanted})[0]
        return logits

    return predict
