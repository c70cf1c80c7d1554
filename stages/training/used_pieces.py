"""A vocabulary cut down to what a task uses: less memory, and less to train, at the same answers.

A multilingual model spends most of its weights on words of other languages: 96 of the 117 million
of multilingual-e5-small. What stays: the pieces of the training texts, so that these are cut into
the same pieces as before; the special ones; and every single character, of which anything else can
be spelt (Abdaoui et al., 2020, "Load What You Need").
"""

import json
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.model.from_folder import from_folder
from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
# What begins a piece that is not all of a word, or one that is.
MARKS = {"Unigram": "▁", "WordPiece": "##"}
IDS = ("pad", "bos", "eos", "cls", "sep", "mask")
TEXTS_AT_ONCE = 100


def keep_used(
    name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str]
) -> "PreTrainedTokenizerBase":
    """Cut the model's table of tokens, in place; returns the tokenizer that belongs to it.

    Args:
        name: of the model, for messages.

    Raises:
        UserError: a tokenizer whose pieces depend on each other.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state: dict[str, Any] = json.loads(backend.to_str()) if backend else {"model": {"type": "own"}}
    kind = state["model"]["type"]
    if kind not in MARKS:
        raise UserError(
            f"'vocabulary: used' cuts vocabularies of {' and '.join(MARKS)}, not the {kind} of "
            f"'{name}', whose pieces depend on each other; set it to 'all'"
        )
    kept = sorted(used_ids(tokenizer, texts) | needed_ids(state, tokenizer))
    number = {old: new for new, old in enumerate(kept)}
    print(f"{name}: {len(kept):,} of {len(tokenizer):,} pieces are kept")
    renumber(state, number)
    cut_table(model, kept, number)
    with tempfile.TemporaryDirectory() as folder:
        return with_state(tokenizer, state, Path(folder))


def used_ids(tokenizer: "PreTrainedTokenizerBase", texts: Iterable[str]) -> set[int]:
    used: set[int] = set()
    left = iter(texts)
    while some := list(islice(left, TEXTS_AT_ONCE)):
        used.update(*tokenizer([str(text) for text in some])["input_ids"])
    return used


def needed_ids(state: dict[str, Any], tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Special pieces, single characters, and all up to the one that pads.

    The latter keeps its place because RoBERTa and its kin count positions from there.
    """
    mark = MARKS[state["model"]["type"]]
    single = {i for i, piece in enumerate(pieces(state)) if len(piece.removeprefix(mark)) <= 1}
    added = {entry["id"] for entry in state["added_tokens"]}
    return single | added | set(tokenizer.all_special_ids) | set(range(tokenizer.pad_token_id or 0))


def pieces(state: dict[str, Any]) -> list[str]:
    """By id."""
    vocabulary = state["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return sorted(vocabulary, key=vocabulary.__getitem__)
    return [piece for piece, _ in vocabulary]


def renumber(state: dict[str, Any], number: dict[int, int]) -> None:
    """Every id in a tokenizer.json."""
    core = state["model"]
    if isinstance(core["vocab"], dict):
        core["vocab"] = {
            piece: number[old] for piece, old in core["vocab"].items() if old in number
        }
    else:
        core["vocab"] = [entry for old, entry in enumerate(core["vocab"]) if old in number]
    if core.get("unk_id") is not None:
        core["unk_id"] = number[core["unk_id"]]
    for added in state["added_tokens"]:
        added["id"] = number[added["id"]]
    state["padding"] = state["truncation"] = None  # of some earlier call
    behind = state["post_processor"] or {}
    for step in behind.get("processors", [behind]):
        for special in step.get("special_tokens", {}).values():
            special["ids"] = [number[old] for old in special["ids"]]
        for role in ("sep", "cls"):
            if role in step:
                piece, old = step[role]
                step[role] = [piece, number[old]]


def cut_table(model: "PreTrainedModel", kept: list[int], number: dict[int, int]) -> None:
    """Of tokens, and every id in the configuration."""
    from torch import nn

    table: Any = model.get_input_embeddings()
    padding = number.get(table.padding_idx)
    rows = table.weight.detach()[kept].clone()
    model.set_input_embeddings(nn.Embedding.from_pretrained(rows, False, padding))
    model.config.vocab_size = len(kept)
    for role in IDS:
        old = getattr(model.config, f"{role}_token_id", None)
        if old in number:
            setattr(model.config, f"{role}_token_id", number[old])


def with_state(
    tokenizer: "PreTrainedTokenizerBase", state: dict[str, Any], folder: Path
) -> "PreTrainedTokenizerBase":
    """The same tokenizer with another tokenizer.json."""
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(folder)
    settings = read_json(folder / SETTINGS)
    settings.pop("added_tokens_decoder", None)  # which has the old numbers
    for path in folder.iterdir():  # vocab.txt and its like have them, too
        path.unlink()
    write_json(folder / TOKENIZER, state)
    write_json(folder / SETTINGS, settings)
    cut: PreTrainedTokenizerBase = from_folder(AutoTokenizer, folder)
    return cut
