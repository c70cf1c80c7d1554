"""The texts whose answer changes: what a variant makes of each, beside fp32 and the label."""

from dataclasses import dataclass

import numpy as np

from stages.dataset import stored
from stages.dataset.task import Task
from stages.measure.accuracy import same_answers
from stages.plumbing import paths
from stages.reporting.predictions import Predictions

# Of all variants together, so that the page stays under 3 MB whatever the data are.
MOST_CHARACTERS = 1_200_000
LONGEST_TEXT = 1000
LEAST_ROOM = 200  # of a row of the table besides its texts


@dataclass(frozen=True)
class ChangedText:
    """One text of validation.

    Attributes:
        what: worse, better, or still wrong; of a regression farther from the label, or nearer.
        label, before, after: class names, or scores with three decimals.
        before_probability, after_probability: in percent, of that answer; "" of a regression.
        texts: one, or two of a pair.
    """

    id: str
    what: str
    label: str
    before: str
    before_probability: str
    after: str
    after_probability: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class ChangedTexts:
    """Those of one variant; `total` counts those as well for which the page has no room."""

    variant: str
    total: int
    of: int
    shown: list[ChangedText]


def changed_texts(
    task: Task, seed: int, names: list[str], predictions: Predictions
) -> list[ChangedTexts]:
    """Of each variant on validation, the one that moved farthest first."""
    room = MOST_CHARACTERS // max(1, len(names))
    return [changed_by(task, seed, name, predictions, room) for name in names]


def changed_by(
    task: Task, seed: int, name: str, predictions: Predictions, room: int
) -> ChangedTexts:
    labels, fp32, ours = predictions.answers(seed, name, "validation")
    changed = np.flatnonzero(~same_answers(ours, fp32, labels))
    before, after = (
        predictions.logits(seed, each, "validation", changed)
        for each in (predictions.reference, name)
    )
    moved = np.abs(chances(before) - chances(after)).max(axis=1)
    by_move = np.argsort(-moved, kind="stable")[: room // LEAST_ROOM + 1]
    rows = stored.rows_at(paths.split(task.name, "validation"), changed[by_move])
    texts = rows[list(task.text_columns)].to_numpy()
    shown = []
    for at, i in enumerate(by_move):
        label, answer, other = (values[changed[i]] for values in (labels, fp32, ours))
        one = ChangedText(
            id=rows["id"][at],
            what=what_happened(task, label, answer, other),
            label=named(task, label),
            before=named(task, answer),
            before_probability=percent(task, before[i]),
            after=named(task, other),
            after_probability=percent(task, after[i]),
            texts=tuple(shortened(str(text)) for text in texts[at]),
        )
        room -= LEAST_ROOM + sum(map(len, one.texts))
        if room < 0:
            break
        shown.append(one)
    return ChangedTexts(name, len(changed), len(labels), shown)


def what_happened(task: Task, label: float, before: float, after: float) -> str:
    if task.regression:
        return "farther" if abs(after - label) > abs(before - label) else "nearer"
    return "worse" if before == label else "better" if after == label else "still wrong"


def named(task: Task, answer: float) -> str:
    return f"{answer:.3f}" if task.regression else task.labels[int(answer)]


def percent(task: Task, logits: np.ndarray) -> str:
    return "" if task.regression else f"{100 * chances(logits[None]).max():.1f} %"


def chances(logits: np.ndarray) -> np.ndarray:
    """Softmax of shape (n, classes); a single logit, a regression's, as it is."""
    if logits.shape[1] == 1:
        return logits
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} …"
