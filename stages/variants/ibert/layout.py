"""The one file of an integer model: its tensors and their order, and reading and writing it.

It is a safetensors file (github.com/huggingface/safetensors, README.md), so any tool can list its
tensors. Behind the header the order below is fixed by the sizes alone and everything that a product
reads begins at a multiple of 64 bytes, so C code maps the file and finds all it needs without
parsing the header's JSON. All numbers are int8, int16 or int32, little-endian.
"""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.plumbing.command import UserError

FORMAT = 1
# A panel holds so many output channels; k is padded to a multiple of K_ALIGNED, n to one of PANEL.
PANEL, STEP, K_ALIGNED = 16, 4, 64
ACTIVATIONS = ("gelu", "relu")
HEAD_ACTIVATIONS = ("tanh", "relu")
# What each layer multiplies, in order, and the two LayerNorms behind.
LINEARS = ("qkv", "attention_out", "ffn_in", "ffn_out")
NORMS = ("after_attention", "after_ffn")
EMBEDDINGS_NORM = "embeddings.norm"
WORDS, POSITIONS, TYPES = (
    f"embeddings.{of}_embeddings" for of in ("word", "position", "token_type")
)
LAYER_SCALARS, MODEL_SCALARS = 20, 32  # columns of `layers`, and numbers of `model`


@dataclass(frozen=True)
class Sizes:
    """What decides names, shapes and order of all tensors: the first numbers of `model`.

    Attributes:
        activation, head_activation: places in ACTIVATIONS and HEAD_ACTIVATIONS.
        types: rows of the table of token types; 0 where there is none.
        first_position: row of the first token in the table of positions.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    words: int
    positions: int
    types: int
    first_position: int
    outputs: int
    activation: int
    head_activation: int


class Entry(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]


def round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def linears(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """Name of each Linear -> (n, k), n padded to whole panels, as query, key and value are each."""
    one = round_up(sizes.hidden, PANEL)
    shapes = {
        "qkv": (3 * one, sizes.hidden),
        "attention_out": (one, sizes.hidden),
        "ffn_in": (round_up(sizes.ffn, PANEL), sizes.hidden),
        "ffn_out": (one, sizes.ffn),
    }
    all_layers = {
        f"layer.{i}.{name}": shapes[name] for i in range(sizes.layers) for name in LINEARS
    }
    return all_layers | {"head.dense": (one, sizes.hidden)}


def norms(sizes: Sizes) -> list[str]:
    behind = [f"layer.{i}.{name}" for i in range(sizes.layers) for name in NORMS]
    return [EMBEDDINGS_NORM, *behind]


def tables(sizes: Sizes) -> dict[str, int]:
    """Name of each table of embeddings -> rows."""
    rows = {WORDS: sizes.words, POSITIONS: sizes.positions, TYPES: sizes.types}
    return {name: count for name, count in rows.items() if count}


def entries(sizes: Sizes) -> list[Entry]:
    """All tensors in the order of the file."""
    shapes = linears(sizes)
    found = [
        Entry("model", "int32", (MODEL_SCALARS,)),
        Entry("layers", "int32", (round_up(sizes.layers, 4), LAYER_SCALARS)),
    ]
    for name, (n, k) in shapes.items():
        packed = (n // PANEL, round_up(k, K_ALIGNED) // STEP, PANEL, STEP)
        found.append(Entry(f"{name}.weight", "int8", packed))
    found += [Entry(f"{name}.weight_sum", "int32", (n,)) for name, (n, _) in shapes.items()]
    found.append(Entry("head.bias", "int32", (sizes.outputs,)))
    for name, (n, _) in shapes.items():
        found += [
            Entry(f"{name}.{part}", "int16", (n,)) for part in ("multiplier", "bias", "limit")
        ]
    for name in norms(sizes):
        found += [Entry(f"{name}.{part}", "int16", (sizes.hidden,)) for part in ("gamma", "beta")]
    found.append(Entry("head.weight", "int16", (sizes.outputs, sizes.hidden)))
    found += [Entry(f"{name}.multiplier", "int16", (n,)) for name, n in tables(sizes).items()]
    found += [
        Entry(f"{name}.weight", "int8", (n, sizes.hidden)) for name, n in tables(sizes).items()
    ]
    return found


def write(tensors: Mapping[str, np.ndarray], sizes: Sizes, file: Path) -> None:
    """Raises ValueError where a tensor is not what `entries` says."""
    header, at = {}, 0
    for name, dtype, shape in entries(sizes):
        stored = tensors[name]
        if stored.dtype != dtype or stored.shape != shape:
            raise ValueError(f"{name} is {stored.dtype} {stored.shape}, not {dtype} {shape}")
        header[name] = {
            "dtype": dtype.replace("int", "I"),
            "shape": list(shape),
            "data_offsets": [at, at + stored.nbytes],
        }
        at += stored.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for entry in entries(sizes):
            out.write(np.ascontiguousarray(tensors[entry.name]).tobytes())


def read(file: Path) -> tuple[Sizes, dict[str, np.ndarray]]:
    """Sizes and tensors, mapped and not copied.

    Raises:
        UserError: not a file of this format, or cut off.
    """
    data = np.memmap(file, np.uint8, "r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    scalars = data[8 + length : 8 + length + 4 * MODEL_SCALARS].tobytes()
    if len(scalars) < 4 * MODEL_SCALARS or (numbers := np.frombuffer(scalars, "<i4"))[0] != FORMAT:
        raise UserError(f"{file} is no integer model of format {FORMAT}; run 'dvc repro'")
    sizes = Sizes(*(int(number) for number in numbers[1 : 1 + len(fields(Sizes))]))
    tensors, at = {}, 8 + length
    for name, dtype, shape in entries(sizes):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if at + size > len(data):
            raise UserError(f"{file} ends in the middle of {name}; run 'dvc checkout'")
        tensors[name] = data[at : at + size].view(np.dtype(dtype).newbyteorder("<")).reshape(shape)
        at += size
    return sizes, tensors


def model_scalars(sizes: Sizes, *more: int) -> np.ndarray:
    """The tensor `model`: format, sizes, then what docs/ibert.md lists."""
    numbers = [FORMAT, *astuple(sizes), *more]
    return np.array(numbers + [0] * (MODEL_SCALARS - len(numbers)), np.int32)


def pack(weight: np.ndarray) -> np.ndarray:
    """Int8 (n, k), n whole panels -> (panels, padded k / STEP, PANEL, STEP)."""
    n, k = weight.shape
    full = np.pad(weight, ((0, 0), (0, round_up(k, K_ALIGNED) - k)))
    return full.reshape(n // PANEL, PANEL, -1, STEP).transpose(0, 2, 1, 3)


def unpack(packed: np.ndarray) -> np.ndarray:
    """What `pack` made -> int8 (n, padded k)."""
    panels = packed.shape[0]
    return packed.transpose(0, 2, 1, 3).reshape(panels * PANEL, -1)
