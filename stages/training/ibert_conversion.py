"""BERT and RoBERTa as transformers' IBert: the same float weights under the names that it has.

IBert is RoBERTa-shaped. What differs in BERT: positions count from 0 and not from behind the
padding id, so its table moves down by `pad_token_id + 1` rows; a sequence classifier reads the
pooler, which has the form of IBert's `classifier.dense`; the masked LM's head lies in
`cls.predictions`. Token types stay. Padding on the left changes BERT's answers and not IBert's.
"""

import re
from typing import TYPE_CHECKING, Any

from stages.plumbing.command import UserError, nearest

if TYPE_CHECKING:
    from torch import Tensor

# Head -> how transformers calls the class, behind the model's own name.
HEADS = {
    "base": "Model",
    "masked_lm": "ForMaskedLM",
    "sequence_classification": "ForSequenceClassification",
    "multiple_choice": "ForMultipleChoice",
    "token_classification": "ForTokenClassification",
    "question_answering": "ForQuestionAnswering",
}
FAMILIES = {"bert": "Bert", "roberta": "Roberta"}
# Settings that IBert has as well.
KEPT = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "max_position_embeddings",
    "type_vocab_size",
    "initializer_range",
    "layer_norm_eps",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "tie_word_embeddings",
    "id2label",
    "label2id",
    "problem_type",
)
POSITIONS = "embeddings.position_embeddings.weight"
# Beginning of a weight's name -> in IBert; the first that fits is taken.
RENAMED = {
    "bert.": "ibert.",
    "roberta.": "ibert.",
    "cls.predictions.transform.dense.": "lm_head.dense.",
    "cls.predictions.transform.LayerNorm.": "lm_head.layer_norm.",
    "cls.predictions.": "lm_head.",
}
OF_BERTS_CLASSIFIER = {
    "bert.pooler.dense.": "classifier.dense.",
    "classifier.": "classifier.out_proj.",
}


def to_ibert(model: Any) -> Any:
    """An IBert with the head and the float weights of `model`, quant_mode off, in eval mode.

    Raises:
        UserError: another kind of model or head, or a setting that IBert has no word for.
    """
    import transformers

    if reason := refusal(model.config):
        raise UserError(f"{reason}; give another model")
    head, kind = head_of(type(model).__name__), model.config.model_type
    made_of = getattr(transformers, f"IBert{HEADS[head]}")
    options = {"add_pooling_layer": model.pooler is not None} if head == "base" else {}
    ibert = made_of(ibert_config(model.config), **options)
    state = {renamed(name, kind, head): value for name, value in model.state_dict().items()}
    if kind == "bert":
        (table,) = [name for name in state if name.endswith(POSITIONS)]
        state[table] = moved_down(state[table], first_position(model.config))
    missing, unexpected = ibert.load_state_dict(state, strict=False)
    lacking = sorted(set(missing) & {name for name, _ in ibert.named_parameters()})
    assert not unexpected, unexpected
    assert not lacking, lacking
    return ibert.eval()


def refusal(config: Any) -> str:
    """Why IBert has no place for such a model; empty if it has."""
    if config.model_type not in FAMILIES:
        known = ", ".join(FAMILIES)
        return f"transformers' IBert can hold {known}, not {config.model_type}"
    if config.hidden_act != "gelu":
        return f"transformers' IBert has gelu alone, the model has hidden_act {config.hidden_act}"
    if config.is_decoder or config.pad_token_id is None:
        what = "is_decoder true" if config.is_decoder else "no pad_token_id"
        return f"transformers' IBert is an encoder with padding, the model has {what}"
    return ""


def head_of(class_name: str) -> str:
    """The head of a class of transformers: `BertForMaskedLM` -> `masked_lm`.

    Raises:
        UserError: none of HEADS.
    """
    for family in FAMILIES.values():
        for head, suffix in HEADS.items():
            if class_name == f"{family}{suffix}":
                return head
    raise UserError(
        f"no head for {class_name} in transformers' IBert; {nearest(class_name, list(HEADS))}"
    )


def ibert_config(config: Any) -> Any:
    """The IBertConfig, quant_mode off, of a model that `refusal` has nothing against."""
    from transformers import IBertConfig

    settings = {name: getattr(config, name) for name in KEPT}
    if config.model_type == "bert":
        settings["max_position_embeddings"] += first_position(config)
    return IBertConfig(**settings, quant_mode=False)


def first_position(config: Any) -> int:
    """The row of IBert's table of positions that a text's first token reads."""
    first: int = config.pad_token_id + 1
    return first


def renamed(name: str, kind: str, head: str) -> str:
    """The name in IBert of a weight of a BERT or RoBERTa with this head."""
    pooled = kind == "bert" and head == "sequence_classification"
    rules = OF_BERTS_CLASSIFIER | RENAMED if pooled else RENAMED
    for before, after in rules.items():
        if name.startswith(before):
            return re.sub(f"^{re.escape(before)}", after, name)
    return name


def moved_down(table: "Tensor", rows: int) -> "Tensor":
    """A table of shape (n, columns) behind `rows` rows of zeros, which only padding reads."""
    import torch

    return torch.cat([table.new_zeros(rows, table.shape[1]), table])
