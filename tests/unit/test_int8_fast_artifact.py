"""The artifact of int8_fast: the same answers from any process and kernel, damage refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.engines.runtime import packed_file
from stages.engines.safe_l.rounding import LANE_LIMIT, lane_sums
from stages.model.artifact import WEIGHTS
from stages.plumbing.command import UserError
from stages.variants.int8_fast import encoder
from stages.variants.int8_fast.engine import load
from stages.variants.int8_fast.kernel.dispatch import FORCED, choose_kernel
from stages.variants.int8_fast.linear import LIBRARY
from stages.variants.int8_fast.tensors import FORMAT
from tests.unit.test_int8_fast_encoder import NEAR, Kind, built, checkpoint, oracle, padded

ANSWER = """
import sys
from pathlib import Path
import numpy as np
from stages.variants.int8_fast.engine import load

artifact, batch, logits = map(Path, sys.argv[1:])
np.save(logits, load(artifact)(dict(np.load(batch))))
"""
BATCH = padded([7, 3, 12, 3], 12)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    return built(checkpoint(Kind(), folder / "trained"), folder / "artifact")


def test_a_fresh_process_gives_the_same_bits(artifact: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "batch.npz", **BATCH)  # type: ignore[arg-type]
    batch, logits = tmp_path / "batch.npz", tmp_path / "logits.npy"
    command = [sys.executable, "-c", ANSWER, str(artifact), str(batch), str(logits)]
    subprocess.run(command, check=True)
    assert np.array_equal(np.load(logits), load(artifact)(BATCH))


def test_every_kernel_reads_the_same_artifact(artifact: Path, kernel: str) -> None:
    right = oracle(artifact)(BATCH)
    for predict in (load(artifact), encoder.read(artifact / WEIGHTS, kernel)):
        assert np.abs(predict(BATCH) - right).max() < NEAR * max(1.0, float(np.ptp(right)))


def test_a_cpu_without_our_kernel_reads_it_too(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORCED, LIBRARY)
    choose_kernel.cache_clear()
    predict, right = load(artifact), oracle(artifact)(BATCH)
    choose_kernel.cache_clear()
    assert np.abs(predict(BATCH) - right).max() < NEAR * max(1.0, float(np.ptp(right)))


def test_the_packed_weights_are_safe_for_the_s_that_is_stored(artifact: Path) -> None:
    import torch

    sizes, tensors = packed_file.read(FORMAT, artifact / WEIGHTS)
    for i in range(sizes.layers):
        for part, products in zip(packed_file.LINEARS, tensors["layers"][i], strict=True):
            weight = packed_file.unpack(tensors[f"layer.{i}.{part}.weight"])
            assert lane_sums(torch.from_numpy(weight).short(), products).max() <= LANE_LIMIT


def damaged(whole: bytes) -> dict[str, bytes]:
    return {
        "half": whole[: len(whole) // 2],
        "one byte less": whole[:-1],
        "nothing": b"",
        "another format": b"\x38" + bytes(400),
        "a header that ends nowhere": b"\xff" * 8 + whole[8:],
    }


def altered(whole: bytes, place: int, number: int) -> bytes:
    """With another number at `place` of the tensor `model`."""
    begin = 8 + int.from_bytes(whole[:8], "little") + 4 * place
    return whole[:begin] + number.to_bytes(4, "little", signed=True) + whole[begin + 4 :]


@pytest.mark.parametrize("what", damaged(b""))
def test_a_damaged_file_is_refused(artifact: Path, tmp_path: Path, what: str, kernel: str) -> None:
    (tmp_path / WEIGHTS).write_bytes(damaged((artifact / WEIGHTS).read_bytes())[what])
    why = "cannot be mapped" if what == "nothing" else "is cut off, or not of the format"
    with pytest.raises(UserError, match=why):
        load(tmp_path)


@pytest.mark.parametrize(
    ("place", "number"),
    [(0, 1), (1, 0), (1, -32), (2, 3), (3, 5), (4, 1 << 30), (8, 70), (10, 2), (12, 3), (12, 0)],
)
def test_numbers_that_cannot_be_are_refused(
    artifact: Path, tmp_path: Path, place: int, number: int, kernel: str
) -> None:
    whole = (artifact / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(altered(whole, place, number))
    with pytest.raises(UserError, match="is cut off, or not of the format"):
        load(tmp_path)


@pytest.mark.parametrize("what", ["half", "one byte less", "nothing", "another format"])
def test_torchs_reader_refuses_it_too(artifact: Path, tmp_path: Path, what: str) -> None:
    (tmp_path / WEIGHTS).write_bytes(damaged((artifact / WEIGHTS).read_bytes())[what])
    with pytest.raises(UserError, match=r"no int8_fast model|ends in the middle of"):
        encoder.read(tmp_path / WEIGHTS, LIBRARY)
