"""Whether a model that somebody else's config.json describes can be built here at all.

Looked at before transformers reads the file: it makes lists of as many layers and labels as are
named, and then as many modules.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from stages.plumbing.command import UserError

CONFIG = "config.json"
MOST_BYTES = 64 << 20  # of config.json; names of many labels stand in it
# What decides a model's size: as transformers calls it, as families call it, what a large model
# has, and where to stop even if the machine's memory would do.
KEYS: dict[str, tuple[tuple[str, ...], int, int]] = {
    "num_hidden_layers": (("n_layers", "n_layer", "num_layers", "encoder_layers"), 24, 1000),
    "hidden_size": (("dim", "d_model", "emb_dim", "n_embd"), 1024, 1 << 20),
    "intermediate_size": (("hidden_dim", "d_inner", "encoder_ffn_dim"), 4096, 1 << 24),
    "num_attention_heads": (("n_heads", "n_head", "encoder_attention_heads"), 16, 1 << 16),
    "vocab_size": (("n_words",), 250_000, 1 << 30),
    "max_position_embeddings": (("n_positions", "max_seq_length"), 8192, 1 << 30),
    "type_vocab_size": ((), 4, 1 << 24),
    "num_labels": ((), 100, 1_000_000),
}
BERT_BASE = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "vocab_size": 30_522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "num_labels": 2,
}
FLOAT = 4  # bytes


def check_folder(name: str, folder: Path) -> None:
    """`check` of the folder's config.json; one that is no JSON object is left to transformers."""
    file = folder / CONFIG
    try:
        if file.stat().st_size > MOST_BYTES:
            raise UserError(
                f"the model '{name}' has a {CONFIG} of {file.stat().st_size / 1e6:.0f} MB, which "
                "is no description of a model; get it anew"
            )
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(given, dict):
        check(name, given)


def check(name: str, given: Mapping[str, Any], memory: int = 0) -> None:
    """Raises UserError, which names the key that is to blame.

    Args:
        given: what config.json says; what it leaves out is as in BERT-base.
        memory: bytes of this machine; 0: what it has.
    """
    said = {key: named(key, given) for key in KEYS}
    sizes = {key: value for key, (_, value) in said.items() if value is not None}
    for key, value in sizes.items():
        if value > KEYS[key][2]:
            raise UserError(
                f"the model '{name}' has {said[key][0]}: {value} in its {CONFIG}; "
                f"{KEYS[key][2]} is the most that is built"
            )
    if not sizes:
        return
    memory = memory or psutil.virtual_memory().total
    needed = FLOAT * parameters(BERT_BASE | sizes, int(given.get("num_hidden_groups") or 0))
    if needed > memory:
        # The one that is farthest beyond what large models have.
        key = max(sizes, key=lambda each: sizes[each] / KEYS[each][1])
        raise UserError(
            f"the model '{name}' would need {needed / 1e9:.1f} GB for its weights alone, and this "
            f"machine has {memory / 1e9:.1f} GB; {said[key][0]} is {sizes[key]} in its {CONFIG}"
        )


def named(key: str, given: Mapping[str, Any]) -> tuple[str, int | None]:
    """The name that it has there, and its value; None where it is not given as a number."""
    for name in (key, *KEYS[key][0]):
        value = given.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return name, int(value) if math.isfinite(value) else 1 << 62
    return key, None


def parameters(sizes: Mapping[str, int], groups: int) -> int:
    """Roughly, of an encoder.

    Args:
        groups: layers that have weights of their own, as ALBERT's; 0: all.
    """
    hidden = sizes["hidden_size"]
    wide = sizes.get("intermediate_size", 4 * hidden)
    rows = sizes["vocab_size"] + sizes["max_position_embeddings"] + sizes["type_vocab_size"]
    layers = groups or sizes["num_hidden_layers"]
    return (rows + sizes["num_labels"]) * hidden + layers * (4 * hidden**2 + 2 * hidden * wide)
