"""Models that learn from a task's texts alone: a vocabulary of pieces, and hidden tokens."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from stages.tasks.mrpc import DATASET
from stages.training.model_names import resolve
from stages.training.pretrained import load
from stages.training.token_dropout import token_dropout
from stages.training.vocabularies import piece_tokenizer

TEXTS = ["手机很好，屏幕很好。", "手机不好，屏幕太小！", "服务很好", "服务 不好 Bert"] * 20


def test_pieces_of_the_training_texts_are_the_vocabulary() -> None:
    tokenizer = piece_tokenizer(TEXTS, 64, 200)
    pieces = tokenizer.tokenize("手机很好，BERT")
    assert any(len(piece) > 1 for piece in pieces)
    assert "[UNK]" not in pieces
    assert "[UNK]" in tokenizer.tokenize("龙")
    assert len(tokenizer) <= 200


def test_the_same_texts_give_the_same_pieces_and_they_survive_saving(tmp_path: Path) -> None:
    one, two = piece_tokenizer(TEXTS, 64, 200), piece_tokenizer(TEXTS, 64, 200)
    assert one.get_vocab() == two.get_vocab()
    one.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS[:4])["input_ids"] == one(TEXTS[:4])["input_ids"]
    assert again.model_input_names == ["input_ids", "token_type_ids", "attention_mask"]


def test_a_pair_has_two_segments() -> None:
    tokenizer = piece_tokenizer(TEXTS, 64, 200)
    encoded = tokenizer("手机", "服务")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens[0] == "[CLS]"
    assert tokens.count("[SEP]") == 2
    first = tokens.index("[SEP]") + 1
    assert encoded["token_type_ids"] == [0] * first + [1] * (len(tokens) - first)


@pytest.fixture(scope="module")
def piece_bert() -> tuple[Any, Any]:
    """The model and its tokenizer."""
    return load(resolve("scratch:piece-bert"), DATASET.task, 0, texts=TEXTS)


def test_a_model_of_pieces_is_marked_and_fits_its_vocabulary(piece_bert: tuple[Any, Any]) -> None:
    assert resolve("scratch:piece-bert").weights == "scratch"
    model, tokenizer = piece_bert
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    assert embeddings.num_embeddings == len(tokenizer)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_share_of_the_tokens_is_hidden_in_training_only_and_no_special_one(
    share: float, piece_bert: tuple[Any, Any]
) -> None:
    model, tokenizer = piece_bert
    seen: list[torch.Tensor] = []
    embeddings = model.get_input_embeddings()
    ids = torch.full((50, 40), 7)
    ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.pad_token_id
    with token_dropout(model, tokenizer, share):
        embeddings.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
        for training in (True, False):
            model.train(training)
            model(input_ids=ids)
    model.train()
    model(input_ids=ids)
    in_training, in_evaluation, after = seen
    hidden = in_training == tokenizer.mask_token_id
    assert hidden[:, 1:-1].float().mean().item() == pytest.approx(share, abs=0.05)
    assert not hidden[:, [0, -1]].any()
    assert torch.equal(in_evaluation, ids)
    assert torch.equal(after, ids)
