"""Mutations that keep a file's form, so that more than its first line is tried.

Bytes alone are mutated by libFuzzer; what is JSON or YAML here becomes another value, with a node
replaced, removed, doubled or nested, and stays JSON.
"""

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import yaml

from tests.fuzz.targets import header_of

Mutate = Callable[[bytes, int, int], bytes]
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, float("nan"),
    float("inf"), "", "a", "\0", "\ud800", "/", "../../x", "~", "$HOME", "é" * 300, "1e9", "nan",
    [], {}, [[]], [None], {"": {}}, {"a": 1}, ["a", "a"],
]  # fmt: skip


def structured(form: str, of_bytes: Callable[[bytes, int], bytes]) -> Mutate:
    """The mutation for inputs of `form`; `of_bytes` is libFuzzer's own."""

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if form == "bytes" or chance.random() < 0.3:
            return of_bytes(data, longest)
        try:
            if form == "safetensors":
                head, rest = header_of(data)
                text = json.dumps(changed(json.loads(head), chance)).encode()
                return (struct.pack("<Q", len(text)) + text + rest)[:longest]
            value = yaml.safe_load(data) if form == "yaml" else json.loads(data)
            return json.dumps(changed(value, chance), default=str).encode()[:longest]
        except (ValueError, yaml.YAMLError, RecursionError):
            return of_bytes(data, longest)

    return mutate


def changed(value: Any, chance: random.Random) -> Any:
    """A copy with one to three nodes changed."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        places = list(places_in(value))
        if not places:
            return chance.choice(ODD)
        holder, key = chance.choice(places)
        change(holder, key, chance)
    return value


def places_in(value: Any) -> Any:
    """Every (dict, key) and (list, number) of it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield value, key
            yield from places_in(each)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield value, number
            yield from places_in(each)


def change(holder: Any, key: Any, chance: random.Random) -> None:
    kind = chance.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [holder[key]]
    elif kind == 2:
        holder[key] = {"a": holder[key]}
    elif kind == 3 and isinstance(holder, dict):
        holder[str(chance.choice(ODD))] = holder[key]
    elif kind == 4 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * chance.choice([-1, 0, 2, 10**6, 0.5])
    else:
        holder[key] = copy.deepcopy(chance.choice(ODD))
