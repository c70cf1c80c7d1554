"""Other families than BERT: loaded, encoded, quantized and exported, with the right answers."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stages import variants
from stages.engines.onnx.session import session, session_predictor
from stages.model.artifact import RECIPE, Recipe, read_recipe
from stages.model.tokens import Batch, Predict, encode, load_tokenizer, pad, predict_all
from stages.plumbing.files import write_json
from stages.tasks.mrpc import DATASET
from stages.training.fit import longest_input, model_inputs
from stages.training.model_names import resolve
from stages.training.pretrained import load
from stages.variants import Ingredients
from tests.building import build, training_rows
from tests.families import FAMILIES, LONGEST

TASK = DATASET.task
QUANTIZED = ["int8_dynamic", "int8_per_token", "int8_embeddings", "int8_static"]
FAMILY = pytest.mark.parametrize("family", FAMILIES)
FIRST, *OTHERS = FAMILIES
SLOW = [pytest.param(family, marks=pytest.mark.slow) for family in OTHERS]
ROWS = training_rows(24)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """family -> what stage finetune leaves of it, with 24 training rows."""

    @cache
    def make(family: str) -> Ingredients:
        folder = tmp_path_factory.mktemp(family)
        loaded, tokenizer = load(resolve(str(FAMILIES[family](folder / "model"))), TASK, 0)
        loaded.save_pretrained(folder / "finetuned")
        tokenizer.save_pretrained(folder / "finetuned")
        recipe = Recipe(
            task="mrpc",
            model="m",
            weights="random",
            seed=0,
            max_length=40,
            inputs=model_inputs(loaded, tokenizer.model_input_names),
        )
        write_json(folder / "finetuned" / RECIPE, recipe.model_dump())
        ROWS.to_parquet(folder / "train.parquet")
        return Ingredients(TASK, folder / "finetuned", folder / "train.parquet", folder / "learned")

    return make


def batches_of(ingredients: Ingredients) -> list[Batch]:
    """Padded to the longest, padded further, and one row alone: none is as the traced example."""
    recipe = read_recipe(ingredients.checkpoint)
    tokenizer = load_tokenizer(ingredients.checkpoint)
    tokens = encode(tokenizer, TASK, ROWS, recipe)
    return [
        pad(tokenizer, tokens[:6], "longest", 40),
        pad(tokenizer, tokens[6:9], "max_length", 40),
        pad(tokenizer, tokens[9:10], "longest", 40),
    ]


def furthest(one: Predict, other: Predict, batches: list[Batch]) -> float:
    return max(float(np.abs(one(batch) - other(batch)).max()) for batch in batches)


@FAMILY
def test_texts_become_what_the_family_was_trained_on(family: str, sources: Any) -> None:
    tokenizer = load_tokenizer(sources(family).checkpoint)
    rows = ROWS.head(1).assign(sentence1="bab cod", sentence2="dib")
    inputs = tokenizer.model_input_names
    recipe = SimpleNamespace(max_length=40, inputs=inputs)
    (tokens,) = encode(tokenizer, TASK, rows, recipe)
    expected = {
        "distilbert": ["[CLS]", "bab", "cod", "[SEP]", "dib", "[SEP]"],
        "roberta": ["<s>", "bab", "Ġcod", "</s>", "</s>", "dib", "</s>"],
        "xlnet": ["▁bab", "▁cod", "<sep>", "▁dib", "<sep>", "<cls>"],
    }
    assert tokenizer.convert_ids_to_tokens(tokens["input_ids"]) == expected[family]
    if family == "xlnet":
        assert tokens["token_type_ids"] == [0, 0, 0, 1, 1, 2]
        assert inputs == ["input_ids", "token_type_ids", "attention_mask"]
    else:
        assert inputs == ["input_ids", "attention_mask"]


@FAMILY
def test_padding_changes_no_answer(family: str, sources: Any) -> None:
    ingredients = sources(family)
    recipe = read_recipe(ingredients.checkpoint)
    tokenizer = load_tokenizer(ingredients.checkpoint)
    predict = variants.get("fp32").engine.load(ingredients.checkpoint)
    tokens = encode(tokenizer, TASK, ROWS, recipe)
    padded = pad(tokenizer, tokens, "max_length", 40)
    left = padded["attention_mask"][:, 0].min() == 0
    assert left == (family == "xlnet")
    alone = ((np.array([i]), pad(tokenizer, [row], "longest", 40)) for i, row in enumerate(tokens))
    expected = predict_all(predict, alone, len(tokens))
    assert expected.std(axis=0).min() > 0.01  # the texts differ, so equality says something
    np.testing.assert_allclose(predict(padded), expected, atol=1e-5)


@pytest.mark.parametrize("segment", [0, 3, 4])
def test_xlnets_padding_segment_makes_no_difference(segment: int, sources: Any) -> None:
    """3 in transformers 4, 4 in XLNet's own code and PyTorch's tutorial, 0 in transformers 5."""
    ingredients = sources("xlnet")
    predict = variants.get("fp32").engine.load(ingredients.checkpoint)
    batch = batches_of(ingredients)[1]
    padding = batch["attention_mask"] == 0
    assert padding.any()
    changed = batch | {"token_type_ids": np.where(padding, segment, batch["token_type_ids"])}
    np.testing.assert_allclose(predict(changed), predict(batch), atol=1e-6)


@FAMILY
def test_the_longest_input_is_one_that_the_model_takes(family: str, tmp_path: Path) -> None:
    model, tokenizer = load(resolve(str(FAMILIES[family](tmp_path))), TASK, 0)
    longest = longest_input(model, tokenizer)
    if family == "xlnet":
        assert longest > 10**6  # its positions are relative
        return
    assert longest == LONGEST  # RoBERTa's table has two rows more, for padding
    ids = torch.full((1, longest), 7)
    assert model(input_ids=ids).logits.shape == (1, 2)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 7))


@FAMILY
@pytest.mark.parametrize("name", QUANTIZED)
def test_every_int8_form_is_near_fp32_and_traces(
    name: str, family: str, sources: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingredients, engine = sources(family), variants.get(name).engine
    batches = batches_of(ingredients)
    artifact = build(name, ingredients, tmp_path / name)
    predict = engine.load(artifact)
    reference = variants.get("fp32").engine.load(ingredients.checkpoint)
    assert engine.count_quantized(artifact) >= 5
    assert 0 < furthest(predict, reference, batches) < 0.5
    monkeypatch.setattr(engine, "write_onnx", lambda *_: None)  # which takes seconds, see below
    engine.export(artifact, tmp_path)
    traced = torchscript(tmp_path / "model.pt", read_recipe(ingredients.checkpoint).inputs)
    assert furthest(traced, predict, batches) < 1e-5


@pytest.mark.parametrize("family", [FIRST, *SLOW])
def test_exported_fp32_gives_the_same_logits(family: str, sources: Any, tmp_path: Path) -> None:
    ingredients = sources(family)
    batches, reference = (
        batches_of(ingredients),
        variants.get("fp32").engine.load(ingredients.checkpoint),
    )
    artifact = build("fp32", ingredients, tmp_path / "fp32")
    assert variants.get("fp32").engine.export(artifact, tmp_path) == ["model.pt", "model.onnx"]
    traced = torchscript(tmp_path / "model.pt", read_recipe(ingredients.checkpoint).inputs)
    assert furthest(traced, reference, batches) < 1e-5
    assert furthest(onnx(tmp_path / "model.onnx"), reference, batches) < 1e-4


@pytest.mark.slow
@FAMILY
@pytest.mark.parametrize("name", ["int8_dynamic", "int8_static"])
def test_exported_int8_answers_as_its_variant(
    name: str, family: str, sources: Any, tmp_path: Path
) -> None:
    ingredients = sources(family)
    batches, artifact = batches_of(ingredients), build(name, ingredients, tmp_path / name)
    variants.get(name).engine.export(artifact, tmp_path)
    predict = variants.get(name).engine.load(artifact)
    exported = onnx(tmp_path / "model.onnx")
    reference = variants.get("fp32").engine.load(ingredients.checkpoint)
    # One activation that is rounded the other way moves all that follow: no closer than that.
    assert furthest(exported, predict, batches) < max(furthest(predict, reference, batches), 0.05)


def torchscript(file: Path, inputs: list[str]) -> Predict:
    traced: Any = torch.jit.load(str(file))

    @torch.inference_mode()
    def predict(batch: Batch) -> np.ndarray:
        logits: np.ndarray = traced(*(torch.from_numpy(batch[name]) for name in inputs)).numpy()
        return logits

    return predict


def onnx(file: Path) -> Predict:
    return session_predictor(session(file))
