"""transformers' IBert: its checkpoints read as RoBERTa, BERT and RoBERTa written as IBert."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages import variants
from stages.commands.to_ibert import convert
from stages.model.classifier import load_checkpoint, predictor
from stages.plumbing.command import UserError
from stages.tasks.mrpc import DATASET
from stages.training.fit import longest_input
from stages.training.ibert_conversion import FAMILIES, HEADS, to_ibert
from stages.training.model_names import resolve
from stages.training.pretrained import load
from tests.building import as_if_trained, batch, build, make_ingredients
from tests.families import LONGEST, TEXTS, tiny_distilbert, tiny_roberta

ROOT = Path(__file__).parents[2]
TASK = DATASET.task
SPECIALS = 5  # ids below are not words


def texts(vocabulary: int, padding: int, *shape: int) -> dict[str, Tensor]:
    """Random texts, int64 of this shape, the last token of each padded; two types of token."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(SPECIALS, vocabulary, shape, generator=random)
    ids[..., -1] = padding
    return {"input_ids": ids, "attention_mask": (ids != padding).long()}


def outputs(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """All that the head gives: logits, or starts and ends, or hidden states and the pooled one."""
    with torch.no_grad():
        found = model.eval()(**inputs, return_dict=True)
    return [value for value in found.values() if value is not None]


def change_config(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def change_weights(folder: Path, change: Callable[[str, Tensor], Tensor]) -> None:
    file = folder / "model.safetensors"
    changed = {name: change(name, value) for name, value in load_file(file).items()}
    save_file(changed, file, metadata={"format": "pt"})


@pytest.fixture
def ibert(tmp_path: Path) -> Path:
    """A checkpoint that was fine-tuned as an IBert: RoBERTa-shaped, ranges that moved."""
    source = tiny_roberta(tmp_path / "roberta")
    config = transformers.AutoConfig.from_pretrained(source).to_dict()
    config = {name: value for name, value in config.items() if name != "model_type"}
    torch.manual_seed(0)
    model = transformers.IBertForSequenceClassification(
        transformers.IBertConfig(**config | {"quant_mode": True})
    )
    model.train()(**texts(100, 1, 4, 9))
    folder = tmp_path / "ibert"
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


# An IBert is read as a RoBERTa


def test_the_weights_are_the_checkpoints_bit_for_bit(ibert: Path) -> None:
    model, _ = load(resolve(str(ibert)), TASK, 0, fine_tuned=True)
    assert model.config.model_type == "roberta"
    stored = load_file(ibert / "model.safetensors")
    for name, value in model.state_dict().items():
        assert value.equal(stored[name.replace("roberta.", "ibert.", 1)]), name


def test_the_logits_are_those_of_ibert_without_quantization(ibert: Path) -> None:
    ours, _ = load(resolve(str(ibert)), TASK, 0, fine_tuned=True)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        ibert, quant_mode=False
    )
    inputs = texts(100, 1, 5, 11)
    (found,), (expected,) = outputs(ours, inputs), outputs(theirs, inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_is_ignored_is_said_in_one_line(
    ibert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(resolve(str(ibert)), TASK, 0)
    (line,) = capsys.readouterr().out.splitlines()
    stored = load_file(ibert / "model.safetensors")
    ignored = [name for name in stored if not name.endswith((".weight", ".bias"))]
    assert f"'{ibert}' is an I-BERT" in line
    assert f"the {len(ignored)} tensors of its simulation" in line


@pytest.mark.parametrize("variant", ["ibert", "int8_fast", "int8_embeddings"])
def test_from_there_on_it_is_a_roberta_that_can_be_quantized(
    variant: str, ibert: Path, tmp_path: Path
) -> None:
    model, tokenizer = load(resolve(str(ibert)), TASK, 0)
    assert longest_input(model, tokenizer) == LONGEST
    model.save_pretrained(tmp_path / "finetuned")
    tokenizer.save_pretrained(tmp_path / "finetuned")
    inputs = ["input_ids", "attention_mask"]
    ingredients = make_ingredients(tmp_path / "finetuned", tmp_path / "made", inputs)
    artifact = build(variant, ingredients, tmp_path / "artifact")
    rows = {name: batch()[name] for name in inputs}
    found, expected = variants.get(variant).engine.load(artifact)(rows), predictor(model)(rows)
    assert 0 < np.abs(found - expected).max() < 0.1 * np.ptp(expected, axis=0).max()


def test_its_tokenizer_stays_the_same_beside_a_roberta(ibert: Path, tmp_path: Path) -> None:
    model, tokenizer = load(resolve(str(ibert)), TASK, 0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [again(text) for text in TEXTS] == [tokenizer(text) for text in TEXTS]


@pytest.mark.parametrize("head", ["base", "masked_lm"])
def test_one_that_was_only_pretrained_gets_a_new_head(ibert: Path, head: str) -> None:
    made_of = getattr(transformers, f"IBert{HEADS[head]}")
    made_of.from_pretrained(ibert).save_pretrained(ibert)
    with pytest.raises(UserError, match=r"is not fine-tuned: it has no classifier\.dense"):
        load(resolve(str(ibert)), TASK, 0, fine_tuned=True)
    model, _ = load(resolve(str(ibert)), TASK, 0)
    stored = load_file(ibert / "model.safetensors")
    prefix = "" if head == "base" else "ibert."
    for name, value in model.roberta.state_dict().items():
        assert value.equal(stored[f"{prefix}{name}"]), name


def test_one_of_torchs_old_format_is_read_as_well(
    ibert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, _ = load(resolve(str(ibert)), TASK, 0)
    said = capsys.readouterr().out
    torch.save(load_file(ibert / "model.safetensors"), ibert / "pytorch_model.bin")
    (ibert / "model.safetensors").unlink()
    found, _ = load(resolve(str(ibert)), TASK, 0)
    assert capsys.readouterr().out == said
    for name, value in found.state_dict().items():
        assert value.equal(expected.state_dict()[name]), name


def test_its_architecture_alone_can_be_named(
    ibert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = load(resolve(f"random:{ibert}"), TASK, 0)
    assert model.config.model_type == "roberta"
    assert capsys.readouterr().out == ""


# Traps


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_int8_in_the_configuration_is_refused_because_it_casts(ibert: Path, key: str) -> None:
    change_config(ibert, **{"dtype": None, key: "int8"})
    with pytest.raises(UserError, match=r"dtype int8 .* casts parameters instead of quantizing"):
        load(resolve(str(ibert)), TASK, 0)


def test_ranges_that_never_moved_are_remarked_where_quant_mode_is_on(
    ibert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unmoved(name: str, value: Tensor) -> Tensor:
        ends = {"x_min": -1e-5, "x_max": 1e-5}
        return torch.full_like(value, ends.get(name.split(".")[-1], 0)) if ".x_m" in name else value

    change_weights(ibert, unmoved)
    load(resolve(str(ibert)), TASK, 0)
    _, line = capsys.readouterr().out.splitlines()
    assert "quant_mode true, but its activation ranges never moved" in line
    change_config(ibert, quant_mode=False)
    load(resolve(str(ibert)), TASK, 0)
    assert "never moved" not in capsys.readouterr().out


def test_such_ranges_really_clip_everything_to_nothing(tiny_bert: Path) -> None:
    """Why the trap is worth a line: all texts get the same logits, or none."""
    model = to_ibert(load_checkpoint(tiny_bert))
    model.config.quant_mode = True
    model = type(model)(model.config).eval()
    (logits,) = outputs(model, texts(60, 0, 4, 9))
    assert logits.isnan().all() or logits.std(0).max() < 1e-3


@pytest.mark.parametrize(
    ("change", "expected"),
    [(0.0, "has all-zero weight_integer"), (2.0, "has stale weight_integer")],
)
def test_rounded_weights_that_are_not_the_weights_are_remarked(
    ibert: Path, change: float, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change_weights(ibert, lambda name, value: value * change if "weight_int" in name else value)
    load(resolve(str(ibert)), TASK, 0)
    _, line = capsys.readouterr().out.splitlines()
    assert expected in line


# BERT and RoBERTa as IBert


def tiny(family: str, head: str, **settings: Any) -> Any:
    """A random model of some size, its biases and norms too, its types of token two."""
    torch.manual_seed(0)
    roberta = family == "roberta"
    config = getattr(transformers, f"{FAMILIES[family]}Config")(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=20 + 2 * roberta,
        type_vocab_size=1 if roberta else 2,
        pad_token_id=int(roberta),
        **settings,
    )
    model = getattr(transformers, f"{FAMILIES[family]}{HEADS[head]}")(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_gives_the_same_numbers_as_an_ibert(family: str, head: str, tmp_path: Path) -> None:
    model = tiny(family, head)
    shape = (3, 2, 20) if head == "multiple_choice" else (3, 20)  # the longest that it takes
    inputs = texts(60, model.config.pad_token_id, *shape)
    if family == "bert":
        inputs["token_type_ids"] = (torch.arange(20) > 9).long().expand(shape)
    expected = outputs(model, inputs)
    converted = to_ibert(model)
    converted.save_pretrained(tmp_path)
    stored = type(converted).from_pretrained(tmp_path)
    for found in (outputs(converted, inputs), outputs(stored, inputs)):
        assert len(found) == len(expected) >= 1
        for one, other in zip(found, expected, strict=True):
            if other.shape[:2] == (3, 20):  # padded places may differ, nobody reads them
                one, other = one[:, :-1], other[:, :-1]
            assert (one - other).abs().max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_lm_whose_decoder_is_its_own_keeps_it(family: str) -> None:
    model = tiny(family, "masked_lm", tie_word_embeddings=False)
    inputs = texts(60, model.config.pad_token_id, 3, 20)
    (expected,), (found,) = outputs(model, inputs), outputs(to_ibert(model), inputs)
    assert (found - expected)[:, :-1].abs().max() < 1e-4


def test_names_of_labels_and_the_task_come_along() -> None:
    model = tiny("bert", "token_classification", id2label={0: "O", 1: "PER", 2: "LOC"})
    assert to_ibert(model).config.id2label == {0: "O", 1: "PER", 2: "LOC"}


def test_there_and_back_again_is_the_same_model(tiny_bert: Path, tmp_path: Path) -> None:
    """A BERT as IBert, read as a RoBERTa with BERT's token types, vocabulary and logits."""
    source = as_if_trained(tiny_bert, tmp_path / "bert")
    convert(str(source), str(tmp_path / "ibert"))
    model, tokenizer = load(resolve(str(tmp_path / "ibert")), TASK, 0, fine_tuned=True)
    assert model.config.model_type == "roberta"
    assert longest_input(model, tokenizer) == 64
    before = transformers.AutoTokenizer.from_pretrained(source)
    assert [tokenizer(text, text) for text in TEXTS] == [before(text, text) for text in TEXTS]
    found, expected = (predictor(one.eval())(batch()) for one in (model, load_checkpoint(source)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"hidden_act": "relu"}, "hidden_act relu"), ({"is_decoder": True}, "is_decoder true")],
)
def test_what_ibert_cannot_hold_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        to_ibert(tiny("bert", "sequence_classification", **settings))


def test_another_family_or_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"hold bert, roberta, not distilbert"):
        to_ibert(load_checkpoint(tiny_distilbert(tmp_path / "model")))
    other = transformers.BertForNextSentencePrediction(tiny("bert", "base").config)
    with pytest.raises(UserError, match=r"no head for BertForNextSentencePrediction"):
        to_ibert(other)


# The command


def test_the_command_writes_model_and_tokenizer(
    tiny_bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(str(tiny_bert), str(tmp_path / "out"))
    assert "an IBert with the head sequence_classification" in capsys.readouterr().out
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert type(model).__name__ == "IBertForSequenceClassification"
    assert not model.config.quant_mode


def test_another_head_may_be_named_if_its_weights_are_there(
    tiny_bert: Path, tmp_path: Path
) -> None:
    convert(str(tiny_bert), str(tmp_path / "out"), "base")
    assert json.loads((tmp_path / "out/config.json").read_text())["architectures"] == ["IBertModel"]
    with pytest.raises(UserError, match=r"has no qa_outputs\.bias, which the head question_answ"):
        convert(str(tiny_bert), str(tmp_path / "other"), "question_answering")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"folder": "/nowhere"}, "'/nowhere' does not exist"),
        ({"head": "masked_ml"}, "unknown head 'masked_ml'; did you mean 'masked_lm'"),
        ({"out": "."}, r"the folder '\.' exists"),
    ],
)
def test_a_mistake_is_one_line(
    changed: dict[str, str], expected: str, tiny_bert: Path, tmp_path: Path
) -> None:
    arguments = {"folder": str(tiny_bert), "out": str(tmp_path / "out"), "head": ""} | changed
    with pytest.raises(UserError, match=expected):
        convert(**arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/nowhere", "out"], "the model folder '/nowhere' does not exist"),
        (["/nowhere", "out", "base"], "the model folder '/nowhere' does not exist"),
        (["/nowhere"], "the following arguments are required: out"),
    ],
)
def test_the_head_alone_may_be_left_out(arguments: list[str], expected: str) -> None:
    command = [sys.executable, "-m", "stages.commands.to_ibert", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert expected in done.stderr
