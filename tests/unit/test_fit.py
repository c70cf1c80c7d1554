"""Weights, configuration and tokenizer that do not belong together are found before training."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceTrainer
from transformers import (
    AutoConfig,
    AutoTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.tasks import mrpc, sst2
from stages.training.fit import fit
from stages.training.model_names import Pretrained, resolve
from stages.training.pretrained import load, tokenizer_of
from tests.building import training_rows
from tests.families import TEXTS

TASK = mrpc.DATASET.task
Change = Callable[[Path], Any]


@pytest.fixture
def folder(tiny_bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bert, tmp_path / "model"))


def rename(folder: Path, names: Callable[[str], str]) -> None:
    file = folder / "model.safetensors"
    weights = {names(name): tensor for name, tensor in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})


def set_config(folder: Path, file: str = "config.json", **facts: Any) -> None:
    write_json(folder / file, read_json(folder / file) | facts)


def loaded(folder: Path) -> tuple[Any, Any]:
    return load(resolve(str(folder)), TASK, seed=0)


def fitted(folder: Path) -> list[str]:
    return fit(str(folder), *loaded(folder), TASK, training_rows(4))


def encoder(model: Any) -> torch.Tensor:
    weight: torch.Tensor = model.state_dict()["bert.encoder.layer.0.output.dense.weight"]
    return weight


# ---- what transformers reports of a loading


def test_a_wrappers_prefix_is_taken_off(folder: Path, capsys: pytest.CaptureFixture) -> None:
    expected = encoder(loaded(folder)[0])
    for prefix in ("module.", "_orig_mod."):
        other = Path(shutil.copytree(folder, folder.with_name(prefix)))
        rename(other, lambda name, prefix=prefix: prefix + name)  # type: ignore[misc]
        assert torch.equal(encoder(loaded(other)[0]), expected)
        assert f"'{prefix}' of torch" in capsys.readouterr().out


def as_roberta(folder: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    other = RobertaForSequenceClassification(RobertaConfig(vocab_size=90, **sizes))
    save_file(other.state_dict(), folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: rename(folder, "student.{}".format), "names begin with 'student.'"),
        (as_roberta, "it lacks .* of the encoder, such as bert.embeddings"),
        (lambda folder: set_config(folder, num_hidden_layers=3), "such as bert.encoder.layer.2."),
        (lambda folder: set_config(folder, num_hidden_layers=1), "more than its config.json"),
    ],
)
def test_an_encoder_that_is_not_the_stored_one_is_refused(
    change: Change, message: str, folder: Path
) -> None:
    change(folder)
    with pytest.raises(UserError, match=message):
        loaded(folder)


def test_a_new_head_and_pooler_are_said(folder: Path, capsys: pytest.CaptureFixture) -> None:
    file = folder / "model.safetensors"
    kept = {k: v for k, v in load_file(file).items() if "pooler" not in k and "classifier" not in k}
    save_file(kept | {"cls.predictions.bias": torch.zeros(3)}, file, {"format": "pt"})
    loaded(folder)
    assert "new, to be trained: bert.pooler.dense, classifier" in capsys.readouterr().out


# ---- run-time switches in config.json


@pytest.mark.parametrize(
    "switches",
    [
        {"output_hidden_states": True, "output_attentions": True},
        {"return_dict": False, "torchscript": True},
        {"use_cache": True, "problem_type": "multi_label_classification"},
        {"dtype": "bfloat16", "chunk_size_feed_forward": 4, "gradient_checkpointing": True},
    ],
)
def test_switches_of_the_users_own_runs_change_nothing(
    switches: dict[str, Any], folder: Path
) -> None:
    plain, tokenizer = loaded(folder)
    set_config(folder, **switches)
    switched, _ = loaded(folder)
    batch = tokenizer(["one text", "another"], padding=True, return_tensors="pt")
    labels = torch.tensor([0, 1])
    both = [model.eval()(**batch, labels=labels) for model in (plain, switched)]
    assert torch.equal(both[0].logits, both[1].logits)
    assert torch.equal(both[0].loss, both[1].loss)
    assert both[1].hidden_states is None
    assert switched.dtype == torch.float32


# ---- tokenizers


def test_whatever_autotokenizer_reads_is_a_tokenizer(folder: Path) -> None:
    words = [f"word{i}" for i in range(20)]
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = {token: i for i, token in enumerate([*special, *words, "t", "e", "te"])}
    files = {"vocab.json": json.dumps(vocabulary), "merges.txt": "#version: 0.2\nt e\n"}
    for file in folder.glob("*token*"):
        file.unlink()
    (folder / "vocab.txt").unlink(missing_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    set_config(folder, model_type="roberta")
    assert len(AutoTokenizer.from_pretrained(resolve(str(folder)).tokenizer)) >= len(vocabulary)


@pytest.mark.parametrize(
    ("family", "file", "kind"),
    [
        ("deberta-v2", "spm.model", "unigram"),
        ("xlm-roberta", "sentencepiece.bpe.model", "unigram"),
        ("albert", "spiece.model", "unigram"),
    ],
)
def test_sentencepieces_file_alone_is_read_and_saved_as_tokenizer_json(
    family: str, file: str, kind: str, tmp_path: Path
) -> None:
    trained = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=trained,
        vocab_size=120,
        model_type=kind,
        hard_vocab_limit=False,
        control_symbols="[CLS],[SEP],[MASK]",  # which ALBERT's has
        minloglevel=2,
    )
    AutoConfig.for_model(family).save_pretrained(tmp_path)
    (tmp_path / file).write_bytes(trained.getvalue())
    tokenizer = tokenizer_of(Pretrained("it", str(tmp_path), str(tmp_path)), {})
    tokenizer.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "tokenizer.json").exists()
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    ids = again("bab cod dib")["input_ids"]
    assert ids == tokenizer("bab cod dib")["input_ids"]
    assert set(ids) - set(again.all_special_ids)


def test_a_folder_without_a_vocabulary_has_no_tokenizer(folder: Path) -> None:
    for file in [*folder.glob("*token*"), *folder.glob("vocab*")]:
        file.unlink()
    with pytest.raises(UserError, match="has no tokenizer"):
        fitted(folder)


def test_more_tokens_than_embeddings_are_refused(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"added{i}" for i in range(3)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="resize_token_embeddings"):
        fitted(folder)


def test_segments_that_the_model_does_not_know_are_left_out(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    assert "token_type_ids" in fitted(folder)
    file = folder / "model.safetensors"
    name = "bert.embeddings.token_type_embeddings.weight"
    weights = load_file(file)
    save_file(weights | {name: weights[name][:1].clone()}, file, {"format": "pt"})
    set_config(folder, type_vocab_size=1)
    assert "token_type_ids" not in fitted(folder)
    assert "it knows 1 segment, its tokenizer 2" in capsys.readouterr().out


def test_single_texts_need_one_segment(folder: Path) -> None:
    file = folder / "model.safetensors"
    name = "bert.embeddings.token_type_embeddings.weight"
    weights = load_file(file)
    save_file(weights | {name: weights[name][:1].clone()}, file, {"format": "pt"})
    set_config(folder, type_vocab_size=1)
    rows = training_rows(4).rename(columns={"sentence1": "sentence"})
    task = sst2.DATASET.task
    model = load(resolve(str(folder)), task, seed=0)
    assert "token_type_ids" in fit(str(folder), *model, task, rows)


def test_the_models_own_padding_is_taken_where_the_tokenizer_names_none(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    model, tokenizer = loaded(folder)
    tokenizer.pad_token = None
    fit("it", model, tokenizer, TASK, training_rows(4))
    assert tokenizer.pad_token == "[PAD]"
    assert "its model names [PAD]" in capsys.readouterr().out
    tokenizer.pad_token, model.config.pad_token_id = None, None
    with pytest.raises(UserError, match="no token to pad with"):
        fit("it", model, tokenizer, TASK, training_rows(4))


def test_padding_on_the_left_is_turned(folder: Path, capsys: pytest.CaptureFixture) -> None:
    model, tokenizer = loaded(folder)
    tokenizer.padding_side = "left"
    fit("it", model, tokenizer, TASK, training_rows(4))
    assert tokenizer.padding_side == "right"
    assert "pads on the left" in capsys.readouterr().out


def test_what_fails_only_when_it_runs_is_one_line(folder: Path) -> None:
    model, tokenizer = loaded(folder)
    model.bert.encoder.layer[0].output.dense = torch.nn.Linear(7, 7)
    with pytest.raises(UserError, match="cannot read what its tokenizer gives") as refused:
        fit("it", model, tokenizer, TASK, training_rows(4))
    assert "\n" not in str(refused.value)
