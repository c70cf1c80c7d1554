"""Tiny random models of other families, with the tokenizer class that each comes with."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conftest import WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS = [" ".join(WORDS[i:] + WORDS[:i]) + '. "' for i in range(len(WORDS))]
LONGEST = 64
SPREAD = 0.2  # of the weights: logits that differ from text to text, as a trained model's do


def tiny_distilbert(folder: Path) -> Path:
    """DistilBERT: BERT's vocabulary, no token types."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification
    from transformers import DistilBertTokenizerFast as Tokenizer

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", '"']
    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS])}
    tokenizer = Tokenizer(vocab=vocabulary, model_max_length=LONGEST)
    config = DistilBertConfig(
        initializer_range=SPREAD,
        vocab_size=len(vocabulary),
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        max_position_embeddings=LONGEST,
    )
    return saved(DistilBertForSequenceClassification, config, tokenizer, folder)


def tiny_roberta(folder: Path) -> Path:
    """RoBERTa: byte-level BPE, positions counted from behind the padding id."""
    from transformers import RobertaConfig, RobertaForSequenceClassification
    from transformers import RobertaTokenizerFast as Tokenizer

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary, merges = byte_pairs(specials)
    tokenizer = Tokenizer(vocab=vocabulary, merges=merges, model_max_length=512)
    config = RobertaConfig(
        initializer_range=SPREAD,
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=LONGEST + 2,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    return saved(RobertaForSequenceClassification, config, tokenizer, folder)


def tiny_xlnet(folder: Path) -> Path:
    """XLNet: unigrams, padded on the left, the class token last, four kinds of segments."""
    from transformers import XLNetConfig, XLNetForSequenceClassification
    from transformers import XLNetTokenizerFast as Tokenizer

    specials = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"]
    tokenizer = Tokenizer(vocab=unigrams(specials))
    config = XLNetConfig(
        initializer_range=SPREAD,
        vocab_size=len(tokenizer),
        d_model=32,
        n_layer=2,
        n_head=2,
        d_inner=64,
        pad_token_id=specials.index("<pad>"),
    )
    return saved(XLNetForSequenceClassification, config, tokenizer, folder)


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "distilbert": tiny_distilbert,
    "roberta": tiny_roberta,
    "xlnet": tiny_xlnet,
}


def word_pieces() -> "PreTrainedTokenizerBase":
    """BERT's kind of tokenizer, with a vocabulary of WORDS."""
    from transformers import BertTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", '"']
    vocabulary = {word: i for i, word in enumerate([*specials, *WORDS])}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=LONGEST)


def byte_pairs(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary of TEXTS and its merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator(TEXTS, trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    return trained.get_vocab(), [(left, right) for left, right in merges]


def unigrams(specials: Iterable[str]) -> list[tuple[str, float]]:
    """Words, their beginnings and letters with made-up log probabilities."""
    letters = sorted(set("".join(WORDS)) | {".", '"', "▁"})
    words = [f"▁{word}" for word in WORDS]
    return [(s, 0.0) for s in specials] + [(w, -4.0) for w in words] + [(c, -8.0) for c in letters]


def saved(
    kind: Callable[[Any], Any], config: object, tokenizer: "PreTrainedTokenizerBase", folder: Path
) -> Path:
    from transformers import set_seed

    set_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
