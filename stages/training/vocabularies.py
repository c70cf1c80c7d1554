"""Vocabularies of models that are trained from scratch: characters, or words and their parts."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MIN_COUNT = 2  # one sight of a character teaches nothing; as [UNK] it stands for all rare ones


def character_tokenizer(
    texts: Iterable[str], positions: int, size: int | None = None
) -> "PreTrainedTokenizerBase":
    """BERT's tokenizer, lower case, with the characters of `texts`; the commonest come first.

    Chinese needs no more: BERT puts each Chinese character on its own (Devlin et al., 2019,
    "multilingual" README), and words of other scripts are spelt, `h ##e ##l ##l ##o`.

    Args:
        positions: tokens that the model takes.
        size: number of entries, filled up with `[unused…]` or cut; None: as many as there are.
    """
    from transformers import BertTokenizerFast

    # Accents stay: without them が would be か, and Hangul would fall into its parts.
    settings = {"do_lower_case": True, "strip_accents": False, "model_max_length": positions}
    blank = BertTokenizerFast(**settings).backend_tokenizer

    def words(text: str) -> list[str]:
        normal = blank.normalizer.normalize_str(text)
        return [word for word, _ in blank.pre_tokenizer.pre_tokenize_str(normal)]

    counts = Counter(character for text in texts for word in words(text) for character in word)
    entries = list(SPECIALS)
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if count < MIN_COUNT:
            break
        entries.append(character)
        # Whether it can stand inside a word, or is one by itself like Chinese and punctuation.
        if len(words(f"a{character}a")) == 1:
            entries.append(f"##{character}")
    if size is not None:
        entries += [f"[unused{i}]" for i in range(size - len(entries))]
    vocabulary = {entry: i for i, entry in enumerate(entries[:size])}
    tokenizer: PreTrainedTokenizerBase = BertTokenizerFast(vocab=vocabulary, **settings)
    return tokenizer


def piece_tokenizer(texts: Iterable[str], positions: int, size: int) -> "PreTrainedTokenizerBase":
    """Lower case, `[CLS] first [SEP] second [SEP]`; words and their parts, learned from `texts`.

    Where little text is at hand, a small model learns more from whole words than from characters.
    Neighbours that often stand together become one entry, by byte-pair encoding (Sennrich et al.,
    2016, "Neural Machine Translation of Rare Words"), also in scripts without blanks.

    Args:
        positions: tokens that the model takes.
        size: number of entries at most.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    padding, unknown, start, end, mask = SPECIALS
    learned = Tokenizer(models.BPE(unk_token=unknown))
    learned.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    learned.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=MIN_COUNT,
        special_tokens=list(SPECIALS),
        show_progress=False,
    )
    learned.train_from_iterator(texts, trainer)
    learned.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(each, learned.token_to_id(each)) for each in (start, end)],
    )
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast(
        tokenizer_object=learned,
        model_max_length=positions,
        pad_token=padding,
        unk_token=unknown,
        cls_token=start,
        sep_token=end,
        mask_token=mask,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    return tokenizer
