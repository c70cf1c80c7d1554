"""The model that a training starts from, or that somebody else trained, and its tokenizer."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.dataset.task import Task
from stages.model.from_folder import from_folder
from stages.plumbing.command import UserError
from stages.plumbing.faults import of_the_machine
from stages.sources.model_hub import REMEDY
from stages.training import config_size, ibert_checkpoint, loading_report
from stages.training.label_order import order_of, reorder_head
from stages.training.model_names import OF_PIECES, Pretrained
from stages.training.vocabularies import character_tokenizer, piece_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SAFELY = "Get it anew, as safetensors where that is offered"
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
        if of_the_machine(error):
            raise
        remedy = REMEDY
        if not isinstance(error, OSError):
            outputs = f"{task.outputs} {'output' if task.outputs == 1 else 'outputs'}"
            remedy = f"Check that it is a classifier with {outputs} or a plain encoder"
        reason = str(error).strip().split("\n")[0][:300]
        if "weights_only" in str(error):  # torch advises to run whatever the file says
            reason, remedy = "its weights are no file of tensors alone, or a damaged one.", SAFELY
        raise UserError(f"cannot load the model '{model.name}': {reason} {remedy}") from None


def load_or_raise(
    model: Pretrained, task: Task, seed: int, texts: Iterable[str], fine_tuned: bool
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """`load`, with whatever exceptions the libraries raise."""
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForSequenceClassification,
        BertConfig,
        set_seed,
    )

    if model.architecture is not None:
        config = BertConfig(**model.architecture)
    else:
        config_size.check_folder(model.name, Path(model.location))
        config = from_folder(AutoConfig, model.location)
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
        tokenizer = tokenizer_of(model, offers)
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
        made = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        return made, tokenizer

    def read(renamed: dict[str, str] | None) -> tuple[Any, Any]:
        loaded: tuple[Any, Any] = from_folder(
            AutoModelForSequenceClassification,
            model.location,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            key_mapping=renamed,
            ignore_mismatched_sizes=True,  # another task's head makes room for a new one
        )
        return loaded

    loaded, report = read(ibert_checkpoint.KEY_MAPPING if is_ibert else None)
    if prefix := loading_report.wrapper_of(loaded, report):
        wrapper = loading_report.WRAPPERS[prefix]
        print(f"{model.name}: '{prefix}' of {wrapper} is taken off the names of the weights")
        loaded, report = read({f"^{re.escape(prefix)}": ""})
    for name, stored, needed in report["mismatched_keys"]:
        if (stored[0], needed[0]) != (len(theirs), task.outputs) or stored[1:] != needed[1:]:
            raise UserError(
                f"the weights of '{model.name}' do not fit its config.json: {name} is "
                f"{tuple(stored)} instead of {tuple(needed)}; get both from the same place"
            )
    # The ranges of an IBert's simulation have no place in the RoBERTa that it is.
    ignored: dict[str, list[str]] = {"unexpected_keys": []} if is_ibert else {}
    loading_report.check(model.name, loaded, report | ignored)
    if fine_tuned and report["missing_keys"]:
        raise UserError(
            f"the checkpoint '{model.name}' is not fine-tuned: it has no "
            f"{sorted(report['missing_keys'])[0]}. Name it in 'model' instead, to train it"
        )
    if order != sorted(order):
        reorder_head(loaded, order)
    return loaded, tokenizer


def tokenizer_of(model: Pretrained, offers: dict[str, list[str]]) -> "PreTrainedTokenizerBase":
    """Whatever AutoTokenizer reads.

    Raises:
        UserError: it reads none there, or a package that it needs is not installed.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = from_folder(AutoTokenizer, model.tokenizer, **offers)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise UserError(
            f"the model '{model.name}' has no tokenizer that transformers can read ({reason}); "
            "save it beside the weights with tokenizer.save_pretrained, or install the package "
            "that is named here"
        ) from None
    tokenizer.init_kwargs.pop("auto_map", None)  # see `configure`
    return tokenizer


# What a user once switched on for a run of his own, and a classifier's answer does not depend on.
SWITCHES = {
    "output_hidden_states": False,
    "output_attentions": False,
    "return_dict": True,
    "torchscript": False,
    "use_cache": False,
    "gradient_checkpointing": False,
    "chunk_size_feed_forward": 0,
}


# Of one family: BigBird's sparse attention is for texts of more than 700 tokens, and code that is
# traced keeps the way that the traced text took.
OF_FAMILY = {"big_bird": {"attention_type": "original_full"}}


def configure(config: Any, task: Task) -> None:
    """The head that `task` needs, its loss and the names of its outputs; no run-time switches."""
    config.__dict__.pop("auto_map", None)  # code of its own, which what is saved shall not name
    for name, value in (SWITCHES | OF_FAMILY.get(config.model_type, {})).items():
        if hasattr(config, name):
            setattr(config, name, value)
    if task.regression:
        config.num_labels, config.problem_type = 1, "regression"
        return
    config.id2label = dict(enumerate(task.labels))
    config.label2id = {name: i for i, name in enumerate(task.labels)}
    config.problem_type = "single_label_classification"
