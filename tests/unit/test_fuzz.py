"""Every seed of the fuzzers, once: it is read, or refused in the way that becomes one line."""

import json
import random
from pathlib import Path

import pytest

from tests.fuzz.mutation import structured
from tests.fuzz.rule import broken_rule
from tests.fuzz.targets import TARGETS, Target, header_of

SEEDS = [(name, seed) for name, target in TARGETS.items() for seed in target.seeds(name)]


@pytest.mark.parametrize(("name", "seed"), SEEDS, ids=[f"{n}-{s.name}" for n, s in SEEDS])
def test_a_seed_keeps_the_rule(name: str, seed: Path) -> None:
    assert broken_rule(TARGETS[name], seed.read_bytes()) == ""


def test_each_parser_has_a_seed_that_it_reads() -> None:
    """Else a fuzzer would only try how a file is refused."""
    for name, target in TARGETS.items():
        assert any(reads(target, seed) for seed in target.seeds(name)), name


def reads(target: Target, seed: Path) -> bool:
    try:
        target.read(seed.read_bytes())
    except target.allowed:
        return False
    return True


def test_another_exception_breaks_the_rule_and_is_named_by_its_place() -> None:
    def bad(data: bytes) -> object:
        return dict[str, int]()["missing"]

    assert broken_rule(Target(bad), b"") == "KeyError in the fuzzer itself"


def test_a_mutation_keeps_the_form() -> None:
    value = {"labels": ["a", "b"], "sizes": {"n": 3}}
    mutate = structured("json", lambda data, longest: b"of libFuzzer")
    made = [mutate(json.dumps(value).encode(), 10_000, seed) for seed in range(50)]
    valid = [json.loads(each) for each in made if each != b"of libFuzzer"]
    assert len(valid) > 20
    assert sum(each != value for each in valid) > len(valid) / 2


def test_a_mutated_safetensors_header_has_its_length_before_it() -> None:
    head = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    data = len(head).to_bytes(8, "little") + head + b"1234"
    mutate = structured("safetensors", lambda data, longest: data)
    for seed in random.Random(0).sample(range(1000), 20):
        changed, rest = header_of(mutate(data, 1000, seed))
        json.loads(changed)
        assert rest == b"1234"
