"""How good: a task's metrics on a model's answers, and what a model that learned nothing scores.

A regression is a model with one logit: its answer is the logit itself.
"""

import numpy as np
import pandas as pd

from stages.measure.metrics import METRICS, Labels

# More classes than this make no confusion matrix in the metrics: it would be a page of numbers.
MAX_CONFUSION = 10


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
    outputs, given = logits.shape[1], answers(logits)
    result: dict[str, float | int] = {"n": len(labels)}
    result |= {name: METRICS[name].score(labels, given) for name in names}
    result["loss"] = squared_error(labels, given) if outputs == 1 else cross_entropy(labels, logits)
    if 1 < outputs <= MAX_CONFUSION:
        cells = np.bincount(np.asarray(labels) * outputs + given, minlength=outputs**2)
        table = cells.reshape(outputs, outputs)
        for (true, answer), count in np.ndenumerate(table):
            result[f"true_{true}_predicted_{answer}"] = int(count)
    result |= constant_baseline(names, labels, outputs)
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


def cross_entropy(labels: Labels, logits: np.ndarray) -> float:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def squared_error(labels: np.ndarray, given: np.ndarray) -> float:
    return float(((labels - given.astype(np.float64)) ** 2).mean())


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
