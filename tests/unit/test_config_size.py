"""A config.json of somebody else's that no machine could build is refused before it is tried."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.plumbing.command import UserError
from stages.tasks.mrpc import DATASET
from stages.training.config_size import check
from stages.training.model_names import ARCHITECTURES, resolve
from stages.training.pretrained import load

GB = 10**9


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**5),
        ("n_layers", 10**5),
        ("num_labels", 10**9),
        ("hidden_size", 10**300),
        ("max_position_embeddings", float("inf")),
    ],
)
def test_what_is_never_built_names_its_key(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"'m' has {key}: [0-9]+ in its config.json; .*the most"):
        check("m", {key: value})


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"vocab_size": 10**8}, "vocab_size"),
        ({"hidden_size": 10**5, "vocab_size": 10**5}, "hidden_size"),
        ({"intermediate_size": 10**7}, "intermediate_size"),
        ({"dim": 768, "n_layers": 900}, "n_layers"),
        ({"max_position_embeddings": 10**8}, "max_position_embeddings"),
    ],
)
def test_what_the_memory_does_not_hold_names_the_key_that_is_to_blame(
    given: dict[str, int], key: str
) -> None:
    with pytest.raises(UserError, match=rf"would need .* GB .* has 16\.0 GB; {key} is"):
        check("m", given, memory=16 * GB)


@pytest.mark.parametrize(
    "given",
    [
        *ARCHITECTURES.values(),
        {"hidden_size": 1024, "num_hidden_layers": 24, "vocab_size": 250_002},  # XLM-R large
        {"hidden_size": 1536, "num_hidden_layers": 48, "vocab_size": 128_100},  # DeBERTa xxlarge
        {"hidden_size": 4096, "num_hidden_layers": 12, "num_hidden_groups": 1},  # ALBERT xxlarge
        {"hidden_size": "big", "num_hidden_layers": None, "vocab_size": -1, "num_labels": True},
    ],
)
def test_real_models_pass_and_what_is_no_number_is_left_to_transformers(
    given: dict[str, Any],
) -> None:
    check("m", given, memory=8 * GB)


def test_it_is_asked_before_the_model_is_built(tmp_path: Path) -> None:
    config = {"model_type": "bert", "num_hidden_layers": 10**5, "hidden_size": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="num_hidden_layers: 100000"):
        load(resolve(f"random:{tmp_path}"), DATASET.task, 0)
