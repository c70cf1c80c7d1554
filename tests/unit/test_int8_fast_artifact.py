"""The artifact of int8_fast: read back without loss, on any CPU, and never trusted blindly."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.engines.int8 import engine as int8_artifact
from stages.model.artifact import WEIGHTS, copy_without_weights
from stages.plumbing.command import UserError
from stages.variants.int8_fast.encoder import load
from tests.unit.test_int8_fast_encoder import NEAR, Kind, built, checkpoint, padded

ANSWER = """
import sys
from pathlib import Path
import numpy as np
from stages.variants.int8_fast.encoder import load

artifact, batch, logits = map(Path, sys.argv[1:])
np.save(logits, load(artifact)(dict(np.load(batch))))
"""
BATCH = padded([7, 3, 12, 3], 12)
LAYER = "bert.encoder.layer.0.intermediate.dense"
Tensors = dict[str, Tensor]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    return built(checkpoint(Kind(), folder / "trained"), folder / "artifact")


def altered(artifact: Path, folder: Path, change: Callable[[Tensors], object]) -> Path:
    folder.mkdir()
    copy_without_weights(artifact, folder)
    tensors = load_file(artifact / WEIGHTS)
    change(tensors)
    with safe_open(artifact / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    save_file(tensors, folder / WEIGHTS, metadata)
    return folder


def test_a_fresh_process_gives_the_same_bits(artifact: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "batch.npz", **BATCH)  # type: ignore[arg-type]
    batch, logits = tmp_path / "batch.npz", tmp_path / "logits.npy"
    command = [sys.executable, "-c", ANSWER, str(artifact), str(batch), str(logits)]
    subprocess.run(command, check=True)
    assert np.array_equal(np.load(logits), load(artifact)(BATCH))


def test_every_kernel_reads_the_same_artifact(artifact: Path, kernel: str) -> None:
    """Our kernels add up the same integers: AVX2 and VNNI agree to the last bit."""
    answers = load(artifact)(BATCH)
    right = int8_artifact.load(artifact)(BATCH)
    assert np.abs(answers - right).max() < NEAR * max(1.0, float(np.ptp(right)))


@pytest.mark.parametrize("value", [127, -127, -128])
def test_weights_unsafe_for_their_s_are_packed_for_a_smaller_one(
    artifact: Path, tmp_path: Path, kernel: str, value: int
) -> None:
    def to_the_end(tensors: Tensors) -> None:
        tensors[f"{LAYER}.weight"][:3] = value

    safe = load(artifact).layers[0].ffn_in.products
    strange = altered(artifact, tmp_path / "altered", to_the_end)
    predict = load(strange)
    assert predict.layers[0].ffn_in.products == 1 < safe
    right = int8_artifact.load(strange)(BATCH)
    assert np.abs(predict(BATCH) - right).max() < NEAR * max(1.0, float(np.ptp(right)))


CHANGES: dict[str, Callable[[Tensors], object]] = {
    "a layer is missing": lambda tensors: tensors.pop(f"{LAYER}.weight"),
    "a scale is missing": lambda tensors: tensors.pop(f"{LAYER}.weight_scale"),
    "a norm is missing": lambda tensors: tensors.pop("bert.embeddings.LayerNorm.bias"),
    "the head is missing": lambda tensors: tensors.pop("classifier.bias"),
    "a layer is too narrow": lambda tensors: tensors.update(
        {f"{LAYER}.weight": tensors[f"{LAYER}.weight"][:, :30].contiguous()}
    ),
    "a layer is too short": lambda tensors: tensors.update(
        {f"{LAYER}.weight": tensors[f"{LAYER}.weight"][:60].contiguous()}
    ),
    "a bias is too long": lambda tensors: tensors.update({f"{LAYER}.bias": torch.zeros(65)}),
    "a layer is in float": lambda tensors: tensors.update(
        {f"{LAYER}.weight": tensors[f"{LAYER}.weight"].float()}
    ),
    "one layer more than config.json says": lambda tensors: tensors.update(
        {
            name.replace("layer.1.", "layer.2."): value.clone()
            for name, value in list(tensors.items())
            if "layer.1." in name
        }
    ),
    "the head has more labels": lambda tensors: tensors.update(
        {"classifier.weight": torch.zeros(3, 32), "classifier.bias": torch.zeros(3)}
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_weights_that_do_not_fit_config_json_are_refused(
    artifact: Path, tmp_path: Path, what: str
) -> None:
    strange = altered(artifact, tmp_path / "altered", CHANGES[what])
    with pytest.raises(UserError, match=r"does not fit its config\.json"):
        load(strange)
