"""How `make score` tokenizes and batches: as predict.py does, whatever the tokenizer."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from stages.model.tokens import load_tokenizer
from stages.running.exported_folder import write_tokenizer
from stages.running.shipped import predict
from stages.score import scorer
from stages.score.scorer import Scorer
from tests.scoring import sentences
from tests.unit.test_predict import FAMILIES, TEXTS


@pytest.fixture(params=FAMILIES)
def family(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[str]]:
    """A folder with a tokenizer that cuts at 24 tokens, and what its model reads."""
    make, inputs = FAMILIES[request.param]
    theirs = load_tokenizer(make(tmp_path / "model"))
    folder = shutil.copytree(tmp_path / "model", tmp_path / "export")
    write_tokenizer(theirs, 24, folder)
    monkeypatch.setattr(predict, "read_manifest", lambda folder: {
        "labels": ["a", "b"], "columns": ["text"], "inputs": inputs,
        "predict": {"model": "model.none", "loads": []}, "max_length": 24,
    })  # fmt: skip
    monkeypatch.setitem(predict.LOADERS, ".none", lambda file, threads: by_tokens)
    return folder, inputs


def by_tokens(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Logits that tell what was given, however much it is padded."""
    ids = batch["input_ids"] * batch["attention_mask"]
    return np.stack([ids.sum(1), (ids**2 % 997).sum(1)], 1).astype(np.float32)


def test_batches_are_padded_as_the_tokenizer_itself_pads(family: tuple[Path, list[str]]) -> None:
    folder, inputs = family
    own = Scorer(folder)
    texts = [*TEXTS, *sentences(100)]
    tokens, _ = own.tokens(texts)
    theirs = predict.read_tokenizer(folder)
    seen = []
    for positions, batch in own.batches(tokens):
        expected = predict.arrays(theirs, inputs, [texts[i] for i in positions])
        assert {name: array.tolist() for name, array in batch.items()} == {
            name: array.tolist() for name, array in expected.items()
        }
        seen += positions.tolist()
    assert sorted(seen) == list(range(len(texts)))
    np.testing.assert_array_equal(
        own.logits(texts).values, predict.Classifier(folder).logits(texts)
    )


def test_of_a_very_long_text_only_the_beginning_is_read_and_the_tokens_are_the_same(
    family: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = family
    random_ = random.Random(0)
    own, all_of_it = Scorer(folder), Scorer(folder)
    all_of_it.tried = 0
    long = [" ".join(sentences(400, seed)) for seed in range(5)]
    long += [
        " " * 5000 + "bab cob",  # nothing is cut in the beginning, nor in all
        "x" * 5000,  # no space in the beginning
        "x" * 5000 + " bab" * 100,
        ("bab" + "  \n") * 2000,
        "".join(random_.choices("ab é\u0301中 .", k=9000)),
        ". " * 3000,
    ]
    assert own.tried == 24 * scorer.TRIED
    assert any(own.beginning(text) is not text for text in long)
    tokens, cut = own.tokens(long)
    expected, expected_cut = all_of_it.tokens(long)
    assert cut == expected_cut
    assert [{k: v.tolist() for k, v in each.items()} for each in tokens] == [
        {k: v.tolist() for k, v in each.items()} for each in expected
    ]
