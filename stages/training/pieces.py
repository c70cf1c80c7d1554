"""A vocabulary of words and parts of words, for models that are trained from scratch.

Where little text is at hand, a small model learns more from whole words than from the characters
that they consist of. Neighbours that often stand together become one entry, by byte-pair encoding
(Sennrich et al., 2016, "Neural Machine Translation of Rare Words"), also in scripts without blanks.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stages.training.characters import MIN_COUNT, SPECIALS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def piece_tokenizer(texts: Iterable[str], positions: int, size: int) -> "PreTrainedTokenizerBase":
    """Lower case, `[CLS] first [SEP] second [SEP]`; the pieces are learned from `texts`.

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
