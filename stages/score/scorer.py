"""Texts in, logits out, with an export: tokenized at once, sorted by length, run in batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.running.shipped import predict

ENCODED = 256  # texts that are tokenized at once: what tokenizers keeps of a text is large
# Characters for each token that the model reads: of a text with more, the beginning is tried first.
# A tokenizer reads all of it, and keeps 170 times its size for a while.
TRIED = 64
# What the tokenizer's settings call the value that fills each array.
FILL = {"ids": "pad_id", "type_ids": "pad_type_id"}

Tokens = dict[str, np.ndarray]


class Logits(NamedTuple):
    """Attributes:
    values: float32 (texts, outputs).
    cut: how many texts are longer than what the model reads of them.
    """

    values: np.ndarray
    cut: int


class Scorer:
    """One thread's; its answers depend on the texts that it is given together, and nothing else."""

    def __init__(self, export: Path) -> None:
        """Raises predict.CannotLoad."""
        self.classifier = predict.Classifier(export, threads=1)
        self.labels = self.classifier.labels
        tokenizer = self.classifier.tokenizer
        self.padding: dict[str, Any] = tokenizer.padding or {"direction": "right"}
        tokenizer.no_padding()
        cutting = tokenizer.truncation or {"direction": "left"}
        pairs = len(self.classifier.columns) > 1
        self.tried = 0 if pairs or cutting["direction"] == "left" else TRIED * cutting["max_length"]

    def logits(self, texts: Sequence[predict.Text]) -> Logits:
        tokens, cut = self.tokens(texts)
        values = np.empty((len(texts), len(self.labels) or 1), np.float32)
        for positions, batch in self.batches(tokens):
            values[positions] = self.classifier.run(batch)
        return Logits(values, cut)

    def batches(self, tokens: list[Tokens]) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Sorted by length, so that little of a batch is padding: positions, and what is run."""
        order = np.argsort([len(each["input_ids"]) for each in tokens], kind="stable")
        for start in range(0, len(order), predict.BATCH):
            positions = order[start : start + predict.BATCH]
            yield positions, self.padded([tokens[i] for i in positions])

    def tokens(self, texts: Sequence[predict.Text]) -> tuple[list[Tokens], int]:
        """Of each text, not padded; and how many were cut."""
        found: list[Tokens] = []
        cut = 0
        fields = {name: predict.FIELDS[name] for name in self.classifier.inputs}
        for start in range(0, len(texts), ENCODED):
            encoded = self.encoded(texts[start : start + ENCODED])
            cut += sum(bool(each.overflowing) for each in encoded)
            found += [
                {name: np.array(getattr(each, field)) for name, field in fields.items()}
                for each in encoded
            ]
        return found, cut

    def encoded(self, texts: Sequence[predict.Text]) -> list[Any]:
        """As `tokenizers` does it, but of a very long text no more than is needed."""
        tokenizer = self.classifier.tokenizer
        begun = [self.beginning(text) for text in texts]
        found: list[Any] = tokenizer.encode_batch(begun)
        for i, (text, beginning) in enumerate(zip(texts, begun, strict=True)):
            # Where it was cut twice over, what follows the beginning cannot matter.
            if beginning is not text and len(found[i].overflowing) < 2:
                found[i] = tokenizer.encode(text)
        return found

    def beginning(self, text: predict.Text) -> predict.Text:
        """Up to a space, which no token spans; all of it where it is not very long."""
        if not self.tried or isinstance(text, tuple) or len(text) <= self.tried:
            return text
        end = text.rfind(" ", 0, self.tried)
        return text if end < 0 else text[:end]

    def padded(self, tokens: list[Tokens]) -> dict[str, np.ndarray]:
        """As the tokenizer's own padding would: int64 (texts, tokens) of each input."""
        lengths = [len(each["input_ids"]) for each in tokens]
        longest = max(lengths)
        left = self.padding["direction"] == "left"
        batch = {}
        for name in self.classifier.inputs:
            fill = self.padding.get(FILL.get(predict.FIELDS[name], ""), 0)
            array = np.full((len(tokens), longest), fill, np.int64)
            for row, each, length in zip(array, tokens, lengths, strict=True):
                row[longest - length if left else 0 :][:length] = each[name]
            batch[name] = array
        return batch

    def shares(self, logits: np.ndarray) -> np.ndarray:
        """The probability of each class, float32 (texts, classes), as predict.py has it."""
        shares = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
        shares /= shares.sum(1, keepdims=True)
        return shares.astype(np.float32)
