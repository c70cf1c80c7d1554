"""A WordPiece vocabulary of single characters, for models that are trained from scratch.

Chinese needs no more: BERT's own tokenizer puts each Chinese character on its own (Devlin et al.,
2019, "multilingual" README), and words of other scripts are spelt, `h ##e ##l ##l ##o`.
"""

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
