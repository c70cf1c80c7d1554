"""A vocabulary cut to what is used: the same answers from fewer rows."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.plumbing.command import UserError
from stages.training.used_pieces import keep_used
from tests.conftest import WORDS
from tests.families import saved, tiny_roberta, unigrams, word_pieces

SEEN = [" ".join(WORDS[:4]), " ".join(WORDS[2:6])]


def tiny_bert(folder: Path) -> Path:
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = word_pieces()
    letters = sorted(set("".join(WORDS)))
    known = tokenizer.get_vocab()
    pieces = [
        *sorted(known, key=known.__getitem__),
        *letters,
        *(f"##{letter}" for letter in letters),
    ]
    tokenizer = type(tokenizer)(vocab={piece: i for i, piece in enumerate(pieces)})
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(pieces), intermediate_size=64, **sizes)
    return saved(BertForSequenceClassification, config, tokenizer, folder)


def tiny_xlm_roberta(folder: Path) -> Path:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification
    from transformers import XLMRobertaTokenizerFast as Tokenizer

    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary = [*unigrams(specials), ("<mask>", 0.0)]
    tokenizer = Tokenizer(vocab=vocabulary)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), intermediate_size=64, pad_token_id=1, **sizes
    )
    return saved(XLMRobertaForSequenceClassification, config, tokenizer, folder)


def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def logits(model: Any, tokenizer: Any, *texts: list[str]) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(*texts, padding=True, return_tensors="pt")).logits


@pytest.fixture(params=[tiny_bert, tiny_xlm_roberta], ids=["WordPiece", "Unigram"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return request.param(tmp_path / "model")


def test_texts_of_the_training_split_get_the_same_logits(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = loaded(folder)
    single, pairs = logits(model, tokenizer, SEEN), logits(model, tokenizer, SEEN, SEEN[::-1])
    whole = len(tokenizer)
    cut = keep_used("m", model, tokenizer, SEEN)
    assert len(cut) == model.get_input_embeddings().num_embeddings < whole
    assert model.config.vocab_size == len(cut)
    assert model.config.pad_token_id == cut.pad_token_id
    assert torch.equal(logits(model, cut, SEEN), single)
    assert torch.equal(logits(model, cut, SEEN, SEEN[::-1]), pairs)
    # And once they are stored.
    model.save_pretrained(tmp_path / "cut")
    cut.save_pretrained(tmp_path / "cut")
    assert torch.equal(logits(*loaded(tmp_path / "cut"), SEEN), single)


def test_a_word_that_is_gone_is_spelt(folder: Path) -> None:
    model, tokenizer = loaded(folder)
    word = WORDS[-1]
    assert word in " ".join(tokenizer.tokenize(word))
    cut = keep_used("m", model, tokenizer, SEEN)
    spelt = cut(word, add_special_tokens=False)["input_ids"]
    assert len(spelt) >= len(word)
    assert cut.unk_token_id not in spelt
    assert cut.unk_token_id in cut("Ω")["input_ids"]


def test_pieces_that_depend_on_each_other_are_refused(tmp_path: Path) -> None:
    model, tokenizer = loaded(tiny_roberta(tmp_path / "roberta"))
    with pytest.raises(UserError, match="not the BPE of 'm', whose pieces depend"):
        keep_used("m", model, tokenizer, SEEN)
