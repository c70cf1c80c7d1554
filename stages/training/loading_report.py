"""What transformers says of a loading: it takes weights that do not fit, and trains from random."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stages.plumbing.command import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What wraps a model puts this before each weight's name; the weights are the model's all the same.
WRAPPERS = {
    "module.": "torch's DataParallel",
    "_orig_mod.": "torch.compile",
    "model.": "a training framework",
}
# Of an encoder, yet made anew for a task: BERT's masked-language models have none to give.
POOLER = "pooler"
BUFFER = "position_ids"  # stored by transformers before 4.31, counted out since


def wrapper_of(module: "PreTrainedModel", report: Mapping[str, Any]) -> str:
    """The prefix in WRAPPERS without which the weights would fit; empty if there is none."""
    missing, base = encoder_weights(module, report["missing_keys"]), module.base_model_prefix
    for prefix in WRAPPERS if missing else ():
        names = {
            name.removeprefix(prefix)
            for name in report["unexpected_keys"]
            if name.startswith(prefix)
        }
        if all(name in names or name.removeprefix(f"{base}.") in names for name in missing):
            return prefix
    return ""


def check(model: str, module: "PreTrainedModel", report: Mapping[str, Any]) -> None:
    """A head and BERT's pooler may be new, and are named; the encoder must be the stored one.

    Args:
        model: its name in params.yaml.
        report: `output_loading_info` of transformers' `from_pretrained`.

    Raises:
        UserError: weights of the encoder are missing or left over.
    """
    missing = encoder_weights(module, report["missing_keys"])
    left_over = encoder_weights(module, report["unexpected_keys"])
    kind = module.config.model_type
    if missing:
        raise UserError(
            f"the weights of '{model}' are not those of its config.json ({kind}): it lacks "
            f"{len(missing)} of the encoder, such as {missing[0]}{instead(report)}; give weights "
            "and config.json from the same place, saved with save_pretrained of the model itself"
        )
    if left_over:
        raise UserError(
            f"the weights of '{model}' are more than its config.json ({kind}) has room for: "
            f"{len(left_over)} of the encoder would be left out, such as {left_over[0]}; give "
            "weights and config.json from the same place"
        )
    if report["missing_keys"]:
        parts = sorted({name.rsplit(".", 1)[0] for name in report["missing_keys"]})
        print(f"{model}: new, to be trained: {', '.join(parts)}")


def instead(report: Mapping[str, Any]) -> str:
    """How the stored names begin, where they all begin alike."""
    firsts = {name.partition(".")[0] for name in report["unexpected_keys"]}
    return f", and has weights whose names begin with '{firsts.pop()}.'" if len(firsts) == 1 else ""


def encoder_weights(module: "PreTrainedModel", names: Iterable[str]) -> list[str]:
    """Those that belong to the encoder, by whole names or as a bare encoder has them."""
    base = module.base_model_prefix
    encoder = getattr(module, base, module)
    parts = {name for name, _ in encoder.named_children()} - {POOLER}
    found = []
    for name in sorted(names):
        first, _, rest = name.removeprefix(f"{base}.").partition(".")
        if first in parts and rest and not name.endswith(BUFFER):
            found.append(name)
    return found
