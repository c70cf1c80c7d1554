"""Checkpoints that others fine-tuned: their classes in the task's order."""

import re
from typing import TYPE_CHECKING

from stages.dataset.task import Task
from stages.plumbing.command import UserError

if TYPE_CHECKING:
    from torch import nn

GENERIC = re.compile(r"(label )?\d+")  # LABEL_0 is what transformers writes where nobody says


def order_of(checkpoint: str, theirs: list[str], task: Task) -> list[int]:
    """For each of the task's outputs, its place in the checkpoint's head.

    Case does not count, nor whether words are joined by `-`, `_` or a blank. Generic names are
    taken to be in the task's order.

    Args:
        theirs: names of the checkpoint's outputs, in its order.

    Raises:
        UserError: another number of outputs, or other names.
    """
    as_they_are, ours = list(range(task.outputs)), ", ".join(task.labels)
    theirs = [str(name) for name in theirs]  # a JSON file may have numbers there
    if len(theirs) != task.outputs:
        raise UserError(
            f"the checkpoint '{checkpoint}' has {len(theirs)} outputs ({', '.join(theirs)}), task "
            f"{task.name} needs {task.outputs} ({ours or 'a score'}); name one that was fine-tuned "
            "on this task"
        )
    names, wanted = [plain(name) for name in theirs], [plain(name) for name in task.labels]
    if task.regression or names == wanted:
        return as_they_are
    if all(GENERIC.fullmatch(name) for name in names):
        print(
            f"the checkpoint '{checkpoint}' calls its classes {', '.join(theirs)}; they are taken "
            f"to be {ours}, in this order"
        )
        return as_they_are
    if sorted(names) != sorted(wanted):
        raise UserError(
            f"the checkpoint '{checkpoint}' has the classes {', '.join(theirs)}, task {task.name} "
            f"has {ours}; if they mean the same, give them the task's names, in the checkpoint's "
            "order, in 'id2label' of its config.json"
        )
    print(
        f"the checkpoint '{checkpoint}' orders its classes {', '.join(theirs)}; its head was "
        f"turned into the task's order {ours}"
    )
    return [names.index(name) for name in wanted]


def plain(name: str) -> str:
    return re.sub(r"[-_\s]+", " ", name).strip().casefold()


def reorder_head(module: "nn.Module", order: list[int]) -> None:
    """Permute, in place, the outputs of the last Linear layer, which makes the logits."""
    import torch

    # Modules are listed as they were made, and every classifier makes its head last.
    head = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
    assert head.out_features == len(order)
    with torch.no_grad():
        for values in head.parameters():
            values.copy_(values[order].clone())
