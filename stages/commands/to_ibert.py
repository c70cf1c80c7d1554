"""A BERT or RoBERTa as a checkpoint of transformers' IBert, for those who train or deploy that.

Its weights stay in floating point and its quant_mode off; ranges are found by training it.
"""

from pathlib import Path
from typing import Any

from stages.model.from_folder import from_folder
from stages.plumbing.command import UserError, nearest, run_stage
from stages.plumbing.files import new_folder
from stages.plumbing.json_file import read_json
from stages.training.ibert_conversion import HEADS, head_of, to_ibert
from stages.training.model_names import check_folder


def convert(folder: str, out: str, head: str = "") -> None:
    """Write the model and tokenizer of FOLDER to OUT; HEAD, if not config.json's own."""
    if not Path(folder).is_dir():
        raise UserError(f"the model folder '{folder}' does not exist; give one that holds a model")
    if Path(out).exists():
        raise UserError(f"the folder '{out}' exists; name one that does not")
    check_folder(Path(folder))
    head = head or own_head(Path(folder))
    if head not in HEADS:
        raise UserError(f"unknown head '{head}'; {nearest(head, list(HEADS))}")
    model, tokenizer = load(folder, head)
    with new_folder(Path(out)) as partial:
        to_ibert(model).save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    print(f"{out}: an IBert with the head {head}, quant_mode off; its ranges are to be trained")


def own_head(folder: Path) -> str:
    """Raises UserError where config.json names no class, or one of another kind."""
    classes = read_json(folder / "config.json").get("architectures") or []
    if not classes:
        raise UserError(
            f"the config.json of '{folder}' names no head; add one of {', '.join(HEADS)}"
        )
    return head_of(classes[0])


def load(folder: str, head: str) -> tuple[Any, Any]:
    """The model in float32 with this head and its tokenizer.

    Raises:
        UserError: the files do not give such a model.
    """
    import torch
    import transformers

    made_of = "AutoModel" if head == "base" else f"AutoModel{HEADS[head]}"
    try:
        model, report = from_folder(
            getattr(transformers, made_of), folder, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = from_folder(transformers.AutoTokenizer, folder)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise UserError(f"cannot load '{folder}' with the head {head}: {reason}") from None
    if report["missing_keys"]:
        lacking = sorted(report["missing_keys"])[0]
        raise UserError(f"'{folder}' has no {lacking}, which the head {head} needs; name another")
    return model, tokenizer


if __name__ == "__main__":
    run_stage(convert)
