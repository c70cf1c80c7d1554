"""The one file of a packed model: which tensors it has, in which order, and reading and writing it.

It is a safetensors file (github.com/huggingface/safetensors, README.md), so any tool can list its
tensors. Behind the header the order follows from the sizes alone, and what products read begins at
multiples of 64 bytes, so C code maps the file and finds all it needs without parsing the header's
JSON. Weights lie as the kernel reads them (THE LAYOUT in int8_linear.h). All numbers are
little-endian.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.engines.safe_l.families import Family
from stages.model.ingredients import Skipped
from stages.plumbing.command import UserError

# A panel holds so many output channels; k is padded to a multiple of K_ALIGNED, n to one of PANEL.
PANEL, STEP, K_ALIGNED = 16, 4, 64
MODEL_SCALARS = 32  # of the tensor `model`: the format, the sizes, then what the format wants
ACTIVATIONS = ("gelu", "relu")
GELUS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast")  # 0.0005 apart at most
HEAD_ACTIVATIONS = ("tanh", "relu", "gelu")
# What each layer multiplies, in order, and the two LayerNorms behind.
LINEARS = ("qkv", "attention_out", "ffn_in", "ffn_out")
NORMS = ("after_attention", "after_ffn")
DENSE, EMBEDDINGS_NORM, PROJECTION = "head.dense", "embeddings.norm", "embeddings.projection"
WORDS, POSITIONS, TYPES = (
    f"embeddings.{of}_embeddings" for of in ("word", "position", "token_type")
)
# DistilBERT's, whose config.json does not say it.
DEFAULT_EPSILON = 1e-12


@dataclass(frozen=True)
class Sizes:
    """What decides names, shapes and order of all tensors.

    Attributes:
        activation, head_activation: places in ACTIVATIONS and HEAD_ACTIVATIONS.
        types: rows of the table of token types; 0 where there is none.
        first_position: row of the first token in the table of positions.
        distances: 1 where something is added to each score by the distance of its two tokens.
        shared: how many layers have weights of their own, each of which stands for as many in a
            row; 0 where all have.
        embedding: columns of the embeddings, where a Linear leads from there to `hidden`; or 0.
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
    # From here on not among the others in `model` but from its end on, so that those stay there.
    distances: int = 0
    shared: int = 0
    embedding: int = 0

    @property
    def stored(self) -> int:
        """Layers with weights of their own."""
        return self.shared or self.layers

    @property
    def embedded(self) -> int:
        """Columns of the embeddings."""
        return self.embedding or self.hidden


FROM_THE_START = len(fields(Sizes)) - 3


class Entry(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]


class Format(NamedTuple):
    """A kind of packed model.

    Attributes:
        number: the first one of `model`.
        entries: all tensors in the order of the file; the first one is `model`.
    """

    number: int
    name: str
    entries: Callable[[Sizes], list[Entry]]


def sizes_of(module: Any, family: Family, variant: str) -> Sizes:
    """Of a model and its configuration.

    Raises:
        Skipped: an activation or a width that `variant` has no operator for.
    """
    config = module.config
    act = getattr(config, family.ffn_act)
    # The model itself has the empty name.
    projected = family.projection in {name for name, _ in module.named_modules() if name}
    if act not in (*GELUS, "relu"):
        raise Skipped(f"{variant} has GELU and ReLU, not {act}; int8_embeddings runs it")
    if projected and config.embedding_size > config.hidden_size:
        raise Skipped(f"{variant} has no embeddings wider than the layers; int8_embeddings runs it")
    return Sizes(
        hidden=config.hidden_size,
        layers=getattr(config, family.layers),
        heads=getattr(config, family.heads),
        ffn=getattr(config, family.ffn),
        words=config.vocab_size,
        positions=config.max_position_embeddings,
        types=getattr(config, "type_vocab_size", 0),
        # MPNet takes 1 for it, whatever its configuration says.
        first_position=module.base_model.embeddings.padding_idx + 1
        if family.padded_positions
        else 0,
        outputs=config.num_labels,
        activation=ACTIVATIONS.index("relu" if act == "relu" else "gelu"),
        head_activation=HEAD_ACTIVATIONS.index(family.head[0][1]),
        distances=int(bool(family.distances)),
        shared=getattr(config, family.stored_layers) if family.stored_layers else 0,
        embedding=config.embedding_size if projected else 0,
    )


def epsilon_of(config: Any, family: Family) -> float:
    """Of all LayerNorms."""
    return float(getattr(config, family.eps)) if family.eps else DEFAULT_EPSILON


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
        f"layer.{i}.{name}": shapes[name] for i in range(sizes.stored) for name in LINEARS
    }
    projection = {PROJECTION: (one, sizes.embedding)} if sizes.embedding else {}
    return all_layers | {DENSE: (one, sizes.hidden)} | projection


def checkpoint_linears(family: Family, sizes: Sizes) -> dict[str, list[str]]:
    """Name of each Linear -> the checkpoint's names of what it is made of."""
    names: dict[str, list[str]] = {}
    for i in range(sizes.stored):
        of = family.of_layer(i)
        names[f"layer.{i}.qkv"] = [of["query"], of["key"], of["value"]]
        names |= {f"layer.{i}.{part}": [of[part]] for part in LINEARS[1:]}
    projection = {PROJECTION: [family.projection]} if sizes.embedding else {}
    return names | {DENSE: [family.head[0][0]]} | projection


def checkpoint_norms(family: Family, sizes: Sizes) -> dict[str, str]:
    """Name of each LayerNorm -> the checkpoint's."""
    stored = range(sizes.stored)
    behind = {f"layer.{i}.{of}": family.of_layer(i)[of] for i in stored for of in NORMS}
    return {EMBEDDINGS_NORM: f"{family.embeddings}.LayerNorm"} | behind


def checkpoint_tables(family: Family, sizes: Sizes) -> dict[str, str]:
    """Name of each table of embeddings -> the checkpoint's."""
    return {name: f"{family.embeddings}.{name.split('.')[1]}" for name in tables(sizes)}


def check_nothing_else(module: Any, family: Family, sizes: Sizes, variant: str) -> None:
    """Raises Skipped where the model has weights that none of the above stands for."""
    known = {name for parts in checkpoint_linears(family, sizes).values() for name in parts}
    known |= set(checkpoint_norms(family, sizes).values())
    known |= {*checkpoint_tables(family, sizes).values(), family.head[-1][0], family.distances}
    for name, child in module.named_modules():
        if name not in known and any(True for _ in child.parameters(recurse=False)):
            raise Skipped(
                f"{variant} has nothing for {name} of this {module.config.model_type}; "
                "int8_embeddings runs it"
            )


def norms(sizes: Sizes) -> list[str]:
    behind = [f"layer.{i}.{name}" for i in range(sizes.stored) for name in NORMS]
    return [EMBEDDINGS_NORM, *behind]


def tables(sizes: Sizes) -> dict[str, int]:
    """Name of each table of embeddings -> rows."""
    rows = {WORDS: sizes.words, POSITIONS: sizes.positions, TYPES: sizes.types}
    return {name: count for name, count in rows.items() if count}


def packed_weights(sizes: Sizes) -> list[Entry]:
    return [
        Entry(f"{name}.weight", "int8", (n // PANEL, round_up(k, K_ALIGNED) // STEP, PANEL, STEP))
        for name, (n, k) in linears(sizes).items()
    ]


def model_scalars(form: Format, sizes: Sizes, *more: int) -> np.ndarray:
    """The tensor `model`."""
    own = astuple(sizes)
    first, last = [form.number, *own[:FROM_THE_START], *more], own[FROM_THE_START:]
    between = [0] * (MODEL_SCALARS - len(first) - len(last))
    return np.array([*first, *between, *reversed(last)], np.int32)


def write(form: Format, tensors: Mapping[str, np.ndarray], sizes: Sizes, file: Path) -> None:
    """Raises ValueError where a tensor is not what the format says."""
    header, at, entries = {}, 0, form.entries(sizes)
    codes = {"int": "I", "float": "F"}
    for name, dtype, shape in entries:
        stored = tensors[name]
        if stored.dtype != dtype or stored.shape != shape:
            raise ValueError(f"{name} is {stored.dtype} {stored.shape}, not {dtype} {shape}")
        kind = dtype.rstrip("0123456789")
        header[name] = {
            "dtype": dtype.replace(kind, codes[kind]),
            "shape": list(shape),
            "data_offsets": [at, at + stored.nbytes],
        }
        at += stored.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for entry in entries:
            out.write(np.ascontiguousarray(tensors[entry.name]).tobytes())


def read(form: Format, file: Path) -> tuple[Sizes, dict[str, np.ndarray]]:
    """Sizes and tensors, mapped and not copied.

    Raises:
        UserError: not a file of this format, or cut off.
    """
    if not file.stat().st_size:  # which cannot be mapped
        raise UserError(f"{file} is empty, and no {form.name}; run 'dvc repro'")
    data = np.memmap(file, np.uint8, "r")
    length = int.from_bytes(data[:8].tobytes(), "little")
    scalars = data[8 + length : 8 + length + 4 * MODEL_SCALARS].tobytes()
    numbers = np.frombuffer(scalars, "<i4") if len(scalars) == 4 * MODEL_SCALARS else [0]
    if numbers[0] != form.number:
        raise UserError(f"{file} is no {form.name}; run 'dvc repro'")
    last = len(fields(Sizes)) - FROM_THE_START
    own = [*numbers[1 : 1 + FROM_THE_START], *numbers[: -1 - last : -1]]
    sizes = Sizes(*(int(number) for number in own))
    tensors, at = {}, 8 + length
    for name, dtype, shape in form.entries(sizes):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if at + size > len(data):
            raise UserError(f"{file} ends in the middle of {name}; run 'dvc checkout'")
        tensors[name] = data[at : at + size].view(np.dtype(dtype).newbyteorder("<")).reshape(shape)
        at += size
    return sizes, tensors


def pack(weight: np.ndarray) -> np.ndarray:
    """Int8 (n, k), n whole panels -> (panels, padded k / STEP, PANEL, STEP)."""
    n, k = weight.shape
    full = np.pad(weight, ((0, 0), (0, round_up(k, K_ALIGNED) - k)))
    return full.reshape(n // PANEL, PANEL, full.shape[1] // STEP, STEP).transpose(0, 2, 1, 3)


def unpack(packed: np.ndarray) -> np.ndarray:
    """What `pack` made -> int8 (n, padded k)."""
    panels = packed.shape[0]
    return packed.transpose(0, 2, 1, 3).reshape(panels * PANEL, -1)


def padded_rows(parts: list[np.ndarray]) -> np.ndarray:
    """Parts one behind the other, each padded with zeros to whole panels of its first dimension."""
    wide = [np.pad(part, [(0, -len(part) % PANEL), *[(0, 0)] * (part.ndim - 1)]) for part in parts]
    return np.concatenate(wide)
