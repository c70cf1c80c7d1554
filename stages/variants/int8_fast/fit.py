"""Whether the weights of an artifact are those that its config.json describes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from stages.engines.safe_l.families import Family

Kind = tuple[torch.dtype, tuple[int, ...]]


def misfits(family: Family, config: Any, tensors: dict[str, Tensor]) -> list[str]:
    """Names of tensors that are missing, of another shape or type, or too many."""
    right = dict(expected(family, config))
    stored = {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    return sorted(name for name in right.keys() | stored if right.get(name) != stored.get(name))


def expected(family: Family, config: Any) -> Iterator[tuple[str, Kind]]:
    size, wide = config.hidden_size, getattr(config, family.ffn)
    layers = range(getattr(config, family.layers))
    tables = {"word": config.vocab_size, "position": config.max_position_embeddings}
    if getattr(config, "type_vocab_size", 0):
        tables["token_type"] = config.type_vocab_size
    for name, rows in tables.items():
        yield from table(f"{family.embeddings}.{name}_embeddings", rows, size)
    norms = [f"{family.embeddings}.LayerNorm"]
    for i in layers:
        for name in (family.query, family.key, family.value, family.attention_out):
            yield from linear(name.format(i=i), size, size)
        yield from linear(family.ffn_in.format(i=i), wide, size)
        yield from linear(family.ffn_out.format(i=i), size, wide)
        norms += [family.after_attention.format(i=i), family.after_ffn.format(i=i)]
    *inner, (logits, _) = family.head
    for name, _ in inner:
        yield from linear(name, size, size)
    for norm in norms:
        yield f"{norm}.weight", (torch.float32, (size,))
        yield f"{norm}.bias", (torch.float32, (size,))
    yield f"{logits}.weight", (torch.float32, (config.num_labels, size))
    yield f"{logits}.bias", (torch.float32, (config.num_labels,))


def table(name: str, rows: int, columns: int) -> Iterator[tuple[str, Kind]]:
    yield f"{name}.weight", (torch.int8, (rows, columns))
    yield f"{name}.weight_scale", (torch.float32, (rows,))


def linear(name: str, n: int, k: int) -> Iterator[tuple[str, Kind]]:
    yield from table(name, n, k)
    yield f"{name}.bias", (torch.float32, (n,))
