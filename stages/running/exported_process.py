"""Run an exported file on a task's validation split, from the export folder alone."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel
from safetensors.numpy import save_file

from stages.dataset.task import read_task
from stages.model.artifact import MANIFEST
from stages.model.tokens import Batch, Predict, batches_of, load_tokenizer, predict_all, unpadded
from stages.plumbing import paths
from stages.plumbing.files import read_json

# What an export brings along whose operators torch does not have; that of one with its own runtime.
LOADER, RUNTIME = "load_kernel.py", "classify.py"


def torchscript(file: Path) -> Predict:
    import torch

    if (loader := file.with_name(LOADER)).exists():
        runpy.run_path(str(loader))
    module = torch.jit.load(str(file))

    @torch.inference_mode()
    def predict(batch: Batch) -> np.ndarray:
        logits: np.ndarray = module(*map(torch.from_numpy, batch.values())).numpy()
        return logits

    return predict


def onnx(file: Path) -> Predict:
    from stages.engines.onnx.session import session, session_predictor

    running = session(file)
    predict = session_predictor(running)
    exponent = running.get_modelmeta().custom_metadata_map.get("logit_exponent")
    if exponent is None:
        return predict

    def divided(batch: Batch) -> np.ndarray:
        """Of a graph of integers, which cannot say so itself."""
        logits = np.ldexp(predict(batch).astype(np.float64), -int(exponent))
        return logits.astype(np.float32)

    return divided


def runtime(file: Path) -> Predict:
    """Weights of the runtime that lies beside them."""
    classify = runpy.run_path(str(file.with_name(RUNTIME)))
    model = classify["Model"](file.with_name(classify["LIBRARY"]), file)

    def predict(batch: Batch) -> np.ndarray:
        starts, flat = unpadded(batch, file.name)
        logits: np.ndarray = model.logits(flat["input_ids"], starts, flat.get("token_type_ids"))
        return logits

    return predict


class ExportManifest(BaseModel):
    """`manifest.json` of an export.

    Attributes:
        inputs: arrays that the files take, in this order.
        max_length: tokens that a text is cut to.
        sha256: file name -> checksum, of every other file.
    """

    task: str
    variant: str
    labels: list[str]
    inputs: list[str]
    max_length: int
    parameters: dict[str, Any]
    versions: dict[str, str]
    sha256: dict[str, str]


# How a file that ships is run without any code of its variant.
LOADERS = {".pt": torchscript, ".onnx": onnx, ".safetensors": runtime}


def main(task: str, folder: str, count: str, batch_sizes: str, padding: str, out: str) -> None:
    """Write the logits of validation rows, in their order, as `<file>/<batch size>` to `out`.

    Args:
        count: rows, from the first on.
        batch_sizes: with commas between; each file runs with each of them.
        out: .safetensors
    """
    manifest = ExportManifest.model_validate(read_json(Path(folder) / MANIFEST))
    tokenizer = load_tokenizer(Path(folder))
    rows = pd.read_parquet(paths.split(task, "validation")).head(int(count))
    definition = read_task(task)
    logits = {}
    for file in sorted(path for path in Path(folder).iterdir() if path.suffix in LOADERS):
        predict = LOADERS[file.suffix](file)
        for size in batch_sizes.split(","):
            sorted_batches = batches_of(tokenizer, definition, rows, manifest, int(size), padding)
            logits[f"{file.name}/{size}"] = predict_all(predict, sorted_batches, len(rows))
    save_file(logits, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
