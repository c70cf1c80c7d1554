"""CTranslate2's BERT encoder with int8 weights; its pooler, and the classifier behind it in numpy.

CTranslate2 leaves the padding of a batch out by itself.
"""

import shutil
from pathlib import Path

import numpy as np

from bench.isa import Isa
from stages.model.tokens import Predict
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

LIBRARY, REQUIRES, BITS = "ctranslate2", ("ctranslate2",), 8
LICENCE, TELEMETRY = "MIT", "none"
LEAVES_PADDING_OUT = True
ENCODER, CLASSIFIER = "encoder", "classifier.safetensors"


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    from ctranslate2.converters import TransformersConverter
    from safetensors.numpy import load_file, save_file

    from stages.model.artifact import WEIGHTS

    # The converter asks for a setting that transformers 5 writes no longer.
    copy = folder / "checkpoint"
    shutil.copytree(checkpoint, copy)
    config = read_json(copy / "config.json")
    write_json(copy / "config.json", {"position_embedding_type": "absolute"} | config)
    TransformersConverter(str(copy)).convert(str(folder / ENCODER), quantization="int8")
    shutil.rmtree(copy)
    weights = load_file(checkpoint / WEIGHTS)
    head = {name: weights[f"classifier.{name}"] for name in ("weight", "bias")}
    save_file(head, folder / CLASSIFIER)
    return [f"{ENCODER}/model.bin", CLASSIFIER]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    import ctranslate2
    from safetensors.numpy import load_file

    encoder = ctranslate2.Encoder(
        str(folder / ENCODER),
        device="cpu",
        compute_type="int8",
        inter_threads=1,
        intra_threads=threads,
    )
    head = load_file(folder / CLASSIFIER)
    view = ctranslate2.StorageView.from_array

    def predict(batch):  # type: ignore[no-untyped-def]
        output = encoder.forward_batch(
            view(batch["input_ids"].astype(np.int32)),
            view(batch["attention_mask"].sum(axis=1, dtype=np.int32)),
            batch["token_type_ids"].tolist(),
        )
        return np.array(output.pooler_output) @ head["weight"].T + head["bias"]

    return predict, None  # it does not tell
