"""The model that a training starts from, or that somebody else trained, and its tokenizer."""

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stages.dataset.task import Task
from stages.plumbing.command import UserError, is_disk_full
from stages.sources.model_hub import REMEDY
from stages.training import ibert_checkpoint
from stages.training.label_order import order_of, reorder_head
from stages.training.model_names import OF_PIECES, Pretrained
from stages.training.vocabularies import character_tokenizer, piece_tokenizer

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

XLNET_INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def load(
    model: Pretrained,
    task: Task,
    seed: int,
    *,
    texts: Iterable[str] = (),
    fine_tuned: bool = False,
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Model in float32 with a head for `task`, and its tokenizer; new weights come from `seed`.

    Args:
        texts: of the training split; only read where the vocabulary is made of them.
        fine_tuned: no weight may be new, because nobody will train it. Its classes are put into
            the task's order (see label_order.py).

    Raises:
        UserError: a file is missing or damaged, weights are stored as integers, or a checkpoint
            that should be fine-tuned lacks weights or was trained on other classes.
    """
    if fine_tuned and model.weights != "pretrained":
        raise UserError(
            f"the checkpoint '{model.name}' is not fine-tuned: its weights are random. Name it "
            "in 'model' instead, to train it"
        )
    try:
        return load_or_raise(model, task, seed, texts, fine_tuned)
    except UserError:
        raise
    except Exception as error:  # safetensors, tokenizers, hub and configurations each raise theirs
        if is_disk_full(error):
            raise
        remedy = REMEDY
        if not isinstance(error, OSError):
            outputs = f"{task.outputs} {'output' if task.outputs == 1 else 'outputs'}"
            remedy = f"Check that it is a classifier with {outputs} or a plain encoder"
        reason = str(error).strip().split("\n")[0][:300]
        raise UserError(f"cannot load the model '{model.name}': {reason} {remedy}") from None


def load_or_raise(
    model: Pretrained, task: Task, seed: int, texts: Iterable[str], fine_tuned: bool
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """`load`, with whatever exceptions the libraries raise."""
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        BertConfig,
        set_seed,
    )

    if model.architecture is not None:
        config = BertConfig(**model.architecture)
    else:
        config = AutoConfig.from_pretrained(model.location)
    is_ibert = config.model_type == ibert_checkpoint.MODEL_TYPE
    if is_ibert:
        config = ibert_checkpoint.as_roberta(model, config)
    if config.dtype is not None and not config.dtype.is_floating_point:
        raise UserError(
            f"the model '{model.name}' is stored as {str(config.dtype).split('.')[-1]} (dtype "
            "in its config.json); give the one in floating point that it was made of"
        )
    theirs = [config.id2label[i] for i in sorted(config.id2label)]
    order = order_of(model.name, theirs, task) if fine_tuned else []
    configure(config, task)
    config.dtype = torch.float32
    set_seed(seed)
    if model.tokenizer:
        # transformers 5 forgot that XLNet was trained with segments.
        offers = {"model_input_names": XLNET_INPUTS} if config.model_type == "xlnet" else {}
        tokenizer = AutoTokenizer.from_pretrained(model.tokenizer, **offers)
    else:
        positions = config.max_position_embeddings
        sized = "vocab_size" in (model.architecture or {})
        if model.name in OF_PIECES:
            tokenizer = piece_tokenizer(texts, positions, config.vocab_size)
        else:
            size = config.vocab_size if sized else None
            tokenizer = character_tokenizer(texts, positions, size)
        config.vocab_size = len(tokenizer)
    if model.weights != "pretrained":
        return AutoModelForSequenceClassification.from_config(config), tokenizer
    loaded, report = AutoModelForSequenceClassification.from_pretrained(
        model.location,
        config=config,
        dtype=torch.float32,
        output_loading_info=True,
        key_mapping=ibert_checkpoint.KEY_MAPPING if is_ibert else None,
        ignore_mismatched_sizes=True,  # another task's head makes room for a new one
    )
    for name, stored, needed in report["mismatched_keys"]:
        if (stored[0], needed[0]) != (len(theirs), task.outputs) or stored[1:] != needed[1:]:
            raise UserError(
                f"the weights of '{model.name}' do not fit its config.json: {name} is "
                f"{tuple(stored)} instead of {tuple(needed)}; get both from the same place"
            )
    if fine_tuned and report["missing_keys"]:
        raise UserError(
            f"the checkpoint '{model.name}' is not fine-tuned: it has no "
            f"{sorted(report['missing_keys'])[0]}. Name it in 'model' instead, to train it"
        )
    if order != sorted(order):
        reorder_head(loaded, order)
    return loaded, tokenizer


def configure(config: Any, task: Task) -> None:
    """The head that `task` needs, its loss and the names of its outputs."""
    if task.regression:
        config.num_labels, config.problem_type = 1, "regression"
        return
    config.id2label = dict(enumerate(task.labels))
    config.label2id = {name: i for i, name in enumerate(task.labels)}
    config.problem_type = "single_label_classification"


def model_inputs(module: "nn.Module", offered: list[str]) -> list[str]:
    """Those of the tokenizer's arrays that the model's `forward` takes."""
    accepted = inspect.signature(module.forward).parameters
    return [name for name in offered if name in accepted]


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
