"""Checkpoints that others fine-tuned: their classes, and these in the task's order."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.dataset.task import Task
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_json
from stages.sources.own_file.labels import GENERIC, spelling
from stages.training.model_names import resolve

if TYPE_CHECKING:
    from torch import nn


def classes_of(checkpoint: str) -> tuple[str, ...]:
    """What a checkpoint calls its outputs, in its order; nothing of its weights is fetched.

    Raises:
        UserError: it cannot be had.
    """
    config = read_json(Path(resolve(checkpoint, with_weights=False).location) / "config.json")
    names: dict[str, str] = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(str(names[number]) for number in sorted(names, key=int))


def renumbered(checkpoint: str, task: Task) -> tuple[str, ...]:
    """The checkpoint's classes, if `order_of` puts them into another order, or nothing."""
    names = classes_of(checkpoint)
    wanted, known = [spelling(name) for name in task.labels], [spelling(name) for name in names]
    return names if known != wanted and sorted(known) == sorted(wanted) else ()


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
    names, wanted = [spelling(name) for name in theirs], [spelling(name) for name in task.labels]
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


def reorder_head(module: "nn.Module", order: list[int]) -> None:
    """Permute, in place, the outputs of the last Linear layer, which makes the logits."""
    import torch

    # Modules are listed as they were made, and every classifier makes its head last.
    head = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
    assert head.out_features == len(order)
    with torch.no_grad():
        for values in head.parameters():
            values.copy_(values[order].clone())
