"""Whether a tokenizer and a model belong together: by their facts, and by a batch that is run."""

import inspect
from typing import TYPE_CHECKING

from stages.dataset.task import Task
from stages.model.tokens import encode, pad
from stages.plumbing.command import UserError

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PADDED_ON_THE_LEFT = ("xlnet",)  # whose classifier reads the last token
SEGMENTS = "token_type_ids"
PROBE_TOKENS = 128
NO_LIMIT = 1 << 30


def fit(
    name: str,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    rows: "pd.DataFrame",
) -> list[str]:
    """The tokenizer's arrays that the model reads; what has one right mend is mended, and said.

    Args:
        name: of the model in params.yaml.
        rows: a few of the training split.

    Raises:
        UserError: they do not belong together.
    """
    check_tokens(name, model, tokenizer, task, rows)
    set_padding(name, model, tokenizer)
    inputs = model_inputs(model, tokenizer.model_input_names)
    if SEGMENTS in inputs:
        encoded = tokenizer(*(rows[column].tolist() for column in task.text_columns))
        asked = 1 + max(max(types) for types in encoded[SEGMENTS])
        if asked > (known := segments_of(model)):
            print(f"{name}: it knows {known} segment, its tokenizer {asked}: they are left out")
            inputs.remove(SEGMENTS)
    run_a_batch(name, model, tokenizer, task, rows, inputs)
    return inputs


def model_inputs(module: "nn.Module", offered: list[str]) -> list[str]:
    """Those of the tokenizer's arrays that the model's `forward` takes."""
    accepted = inspect.signature(module.forward).parameters
    return [name for name in offered if name in accepted]


def check_tokens(
    name: str,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    rows: "pd.DataFrame",
) -> None:
    """Raises UserError if the tokenizer has no vocabulary, or one larger than the model's."""
    highest, size = max(tokenizer.get_vocab().values()), embeddings_of(model)
    if highest >= size:
        raise UserError(
            f"the tokenizer of '{name}' gives ids up to {highest}, its model has embeddings for "
            f"{size} tokens; save both from the same place, or the model after "
            "resize_token_embeddings(len(tokenizer))"
        )
    # transformers makes a tokenizer without a vocabulary where it finds no file of one.
    given = tokenizer(*(rows[column].tolist() for column in task.text_columns))["input_ids"]
    if {token for ids in given for token in ids} <= set(tokenizer.all_special_ids):
        raise UserError(
            f"the model '{name}' has no tokenizer: no file beside its config.json holds a "
            "vocabulary that knows one piece of the training texts; save it there with "
            "tokenizer.save_pretrained"
        )


def set_padding(name: str, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raises UserError if there is no token to pad with, and the model names none."""
    if tokenizer.pad_token is None:
        known = model.config.pad_token_id
        token = None if known is None else tokenizer.convert_ids_to_tokens(known)
        if token is None:
            raise UserError(
                f"the tokenizer of '{name}' has no token to pad with; name the one that the model "
                "was trained with as 'pad_token' in its tokenizer_config.json"
            )
        print(f"{name}: its tokenizer names no token to pad with; its model names {token}")
        tokenizer.pad_token = token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    if tokenizer.padding_side != "right" and model.config.model_type not in PADDED_ON_THE_LEFT:
        print(f"{name}: its tokenizer pads on the left; texts are padded on the right")
        tokenizer.padding_side = "right"


def embeddings_of(model: "PreTrainedModel") -> int:
    """Rows of its table of tokens; very many where it reads ids without such a table (CANINE)."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        table = None
    return int(getattr(table, "num_embeddings", NO_LIMIT))


def segments_of(model: "nn.Module") -> int:
    """Rows of its table of segments; very many where there is no table that could be too short."""
    from torch import nn

    for name, layer in model.named_modules():
        if name.endswith("token_type_embeddings") and isinstance(layer, nn.Embedding):
            return layer.num_embeddings
    return NO_LIMIT


def run_a_batch(
    name: str,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    rows: "pd.DataFrame",
    inputs: list[str],
) -> None:
    """Raises UserError if the model cannot read it, with the library's reason in one line."""
    import torch

    reads = Reads(min(PROBE_TOKENS, longest_input(model, tokenizer)), inputs)
    batch = pad(tokenizer, encode(tokenizer, task, rows, reads), "longest", reads.max_length)
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            shape = model(**{key: torch.from_numpy(a) for key, a in batch.items()}).logits.shape
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"the model '{name}' cannot read what its tokenizer gives ({type(error).__name__}: "
            f"{reason}); save both from the same place"
        ) from None
    finally:
        model.train(was_training)
    if tuple(shape) != (len(rows), task.outputs):
        raise UserError(
            f"the model '{name}' gives logits of shape {tuple(shape)} for {len(rows)} texts, not "
            f"{(len(rows), task.outputs)}; only classifiers of whole texts can be trained"
        )


class Reads:
    """How the model wants its texts before there is a recipe: an `Encoding`."""

    def __init__(self, max_length: int, inputs: list[str]) -> None:
        self.max_length, self.inputs = max_length, inputs


def longest_input(model: "nn.Module", tokenizer: "PreTrainedTokenizerBase") -> int:
    """Tokens that the model takes, special ones included; 10^30 or so if there is no limit.

    RoBERTa and its kin count positions from behind the padding id, so that table has rows that no
    text can use.
    """
    from torch import nn

    limits = [tokenizer.model_max_length]
    for name, layer in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(layer, nn.Embedding):
            unused = 0 if layer.padding_idx is None else layer.padding_idx + 1
            limits.append(layer.num_embeddings - unused)
    return min(limits)
