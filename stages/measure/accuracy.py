"""How good: a task's metrics on a model's answers, and what a model that learned nothing scores.

A regression is a model with one logit: its answer is the logit itself.
"""

import numpy as np
import pandas as pd

from stages.measure.metrics import METRICS, Labels

# More classes than this make no confusion matrix in the metrics: it would be a page of numbers.
MAX_CONFUSION = 10
# Logits that are looked at in double precision at a time.
BLOCK = 4_000_000


def answers(logits: np.ndarray) -> np.ndarray:
    """Shape (n,) of logits of shape (n, outputs): the class, or of a single output its value."""
    chosen: np.ndarray = logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)
    return chosen


def same_answers(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Where two models agree, shape (n,), bool.

    A regression's answers are the same if they lie within 2 % of the range of the labels.
    """
    if np.issubdtype(labels.dtype, np.integer):
        equal: np.ndarray = first == second
        return equal
    near: np.ndarray = np.abs(first - second) <= 0.02 * np.ptp(labels)
    return near


def relative_distance(logits: np.ndarray, reference: np.ndarray) -> float:
    """Mean absolute difference over the mean absolute value of `reference`; NaN of a NaN."""
    apart, size = np.abs(logits - reference).mean(), np.abs(reference).mean()
    return float(apart / size) if size else float(np.inf if apart else 0)


def constant_baseline(names: tuple[str, ...], labels: Labels, outputs: int) -> dict[str, float]:
    """The metrics of always giving the same answer, as `majority_<metric>`.

    The answer is the most frequent class, or of two classes whichever scores higher, since F1
    counts the second one alone; a regression's correlation with any constant is 0.
    """
    constants = [0] if outputs == 1 else [int(np.bincount(labels, minlength=outputs).argmax())]
    if outputs == 2:
        constants = [0, 1]
    return {
        f"majority_{name}": max(
            METRICS[name].score(labels, np.full_like(labels, constant)) for constant in constants
        )
        for name in names
    }


def score(names: tuple[str, ...], labels: Labels, logits: np.ndarray) -> dict[str, float | int]:
    """Everything that is reported about one split.

    Args:
        names: of the task's metrics.
        labels: shape (n,), integers, or real numbers for a regression.
        logits: shape (n, classes), float; (n, 1) for a regression.

    Returns:
        The metrics, `loss` (mean cross entropy in nats, of a regression the mean squared error), up
        to ten classes the confusion matrix as `true_<i>_predicted_<j>`, the score of a constant
        answer, and `top_answer_pct` and `top_label_pct`: how often the most frequent answer is
        given, and the most frequent label (of a regression, rounded to a hundredth).
    """
    tally = Tally()
    tally.add(labels, logits)
    return tally.scores(names)


class Tally:
    """Of a split, what its scores need: 24 bytes of a row, however many classes there are."""

    def __init__(self) -> None:
        self.parts: list[tuple[Labels, np.ndarray, np.ndarray]] = []
        self.outputs = 0

    def add(self, labels: Labels, logits: np.ndarray) -> None:
        self.parts.append((labels, answers(logits), losses(labels, logits)))
        self.outputs = logits.shape[1]

    def scores(self, names: tuple[str, ...]) -> dict[str, float | int]:
        """See `score`."""
        labels, given, lost = map(np.concatenate, zip(*self.parts, strict=True))
        result: dict[str, float | int] = {"n": len(labels)}
        result |= {name: METRICS[name].score(labels, given) for name in names}
        result["loss"] = float(lost.mean())
        if 1 < self.outputs <= MAX_CONFUSION:
            cells = np.bincount(labels * self.outputs + given, minlength=self.outputs**2)
            table = cells.reshape(self.outputs, self.outputs)
            for (true, answer), count in np.ndenumerate(table):
                result[f"true_{true}_predicted_{answer}"] = int(count)
        result |= constant_baseline(names, labels, self.outputs)
        result |= {"top_answer_pct": top_pct(given), "top_label_pct": top_pct(labels)}
        return result


def top_pct(values: np.ndarray) -> float:
    """Percent of the most frequent one."""
    _, often = np.unique(values.round(2), return_counts=True)
    return 100 * float(often.max() / len(values))


def has_collapsed(top_answer_pct: float, top_label_pct: float, least_pct: float) -> bool:
    """Whether a model gives one answer far more often than the labels do.

    Args:
        least_pct: other answers that it must give, in percent of the other labels.
    """
    return 100 - top_answer_pct < least_pct / 100 * (100 - top_label_pct)


def losses(labels: Labels, logits: np.ndarray) -> np.ndarray:
    """Of each row, shape (n,): cross entropy in nats, of a single logit the squared error."""
    if logits.shape[1] == 1:
        squared: np.ndarray = (labels - logits[:, 0].astype(np.float64)) ** 2
        return squared
    block = max(1, BLOCK // logits.shape[1])
    starts = range(0, len(labels), block)
    return np.concatenate(
        [np.zeros(0)]
        + [cross_entropy(labels[i : i + block], logits[i : i + block]) for i in starts]
    )


def cross_entropy(labels: Labels, logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    found: np.ndarray = -log_probabilities[np.arange(len(labels)), labels]
    return found


def per_class(names: tuple[str, ...], labels: Labels, given: np.ndarray) -> pd.DataFrame:
    """Precision, recall, F1 and support (rows that are of the class) of each class.

    Args:
        names: of the classes.
        labels, given: shape (n,), integers.
    """
    # Takes a second to import, and most stages never come here.
    from sklearn.metrics import precision_recall_fscore_support

    values = precision_recall_fscore_support(
        labels, given, labels=range(len(names)), zero_division=0
    )
    columns = ("precision", "recall", "f1", "support")
    return pd.DataFrame({"class": names} | dict(zip(columns, values, strict=True)))
