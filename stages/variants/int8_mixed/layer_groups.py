"""Groups of a model's layers, by their names, and a model of which some groups stay in fp32."""

import copy
from collections.abc import Iterable

from torch import nn

from stages.engines.int8.layers import quantize_layers, read_otherwise
from stages.engines.int8.quantizers import Activations, Range


def group_of(layer: str) -> str:
    """`embeddings`, `layer 3 attention`, `layer 3 ffn in`, `layer 3 ffn out` or `head`."""
    words = layer.split(".")
    if "embeddings" in words or "word_embedding" in words:
        return "embeddings"
    number = next((word for word in words if word.isdigit()), None)
    if number is None:
        return "head"
    if {"attention", "rel_attn"} & set(words):
        return f"layer {number} attention"
    widens = {"intermediate", "lin1", "layer_1"} & set(words)
    return f"layer {number} ffn {'in' if widens else 'out'}"


def groups_of(module: nn.Module) -> dict[str, frozenset[str]]:
    """Group -> names of its Linear and Embedding layers, in the order of the network."""
    groups: dict[str, set[str]] = {}
    for name, child in module.named_modules():
        if isinstance(child, nn.Linear | nn.Embedding):
            groups.setdefault(group_of(name), set()).add(name)
    return {group: frozenset(names) for group, names in groups.items()}


def quantize_except(
    kept: Iterable[str], module: nn.Module, how: Activations, ranges: dict[str, Range]
) -> nn.Module:
    """A copy of `module` in int8, embeddings too, but for the groups named in `kept`.

    Args:
        ranges: of the input of each Linear by name, for a static `how`.
    """
    groups = groups_of(module)
    names = read_otherwise(module).union(*(groups[group] for group in kept))
    return quantize_layers(copy.deepcopy(module), how, embeddings=True, keep=names, ranges=ranges)
