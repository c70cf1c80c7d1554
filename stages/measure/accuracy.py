"""How good: GLUE's metrics on predicted labels, and what a model that learned nothing scores."""

from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

# A model that gives one answer more often than this has collapsed.
COLLAPSE_SHARE = 0.95

Labels = np.ndarray


def f1(labels: Labels, predicted: Labels) -> float:
    """Of class 1, as GLUE scores MRPC and QQP; 0 where it is never predicted and never true."""
    return float(sklearn_metrics.f1_score(labels, predicted, zero_division=0))


def weighted_f1(labels: Labels, predicted: Labels) -> float:
    score = sklearn_metrics.f1_score(labels, predicted, average="weighted", zero_division=0)
    return float(score)


def accuracy(labels: Labels, predicted: Labels) -> float:
    return float(sklearn_metrics.accuracy_score(labels, predicted))


def matthews(labels: Labels, predicted: Labels) -> float:
    """CoLA's metric; 0 for a constant answer."""
    return float(sklearn_metrics.matthews_corrcoef(labels, predicted))


def pearson(labels: np.ndarray, predicted: np.ndarray) -> float:
    """STS-B's first metric, on real-valued scores."""
    return float(stats.pearsonr(labels, predicted).statistic)


def spearman(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(stats.spearmanr(labels, predicted).statistic)


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "f1": f1,
    "weighted_f1": weighted_f1,
    "accuracy": accuracy,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}


def majority_baseline(names: tuple[str, ...], labels: Labels, classes: int) -> dict[str, float]:
    """The metrics of always answering the most frequent class, as `majority_<metric>`."""
    constant = np.full_like(labels, np.bincount(labels, minlength=classes).argmax())
    return {f"majority_{name}": METRICS[name](labels, constant) for name in names}


def constant_baseline(names: tuple[str, ...], labels: Labels, outputs: int) -> dict[str, float]:
    """Always answering the most frequent class; a constant correlates with nothing."""
    if names[0] in ("pearson", "spearman"):
        return {f"majority_{name}": 0.0 for name in names}
    return majority_baseline(names, labels.astype(np.int64), outputs)


def score(names: tuple[str, ...], labels: Labels, logits: np.ndarray) -> dict[str, float | int]:
    """Everything that is reported about one split.

    Args:
        names: of the task's metrics.
        labels: shape (n,), integers.
        logits: shape (n, classes), float.

    Returns:
        The metrics, `loss` (mean cross entropy in nats), the count of each cell of the confusion
        matrix as `true_<i>_predicted_<j>`, the majority baseline, `top_answer_pct` and
        `collapsed` (1 if one answer takes more than 95 %).
    """
    classes = logits.shape[1]
    predicted = logits.argmax(axis=1)
    result: dict[str, float | int] = {"n": len(labels)}
    result |= {name: METRICS[name](labels, predicted) for name in names}
    result["loss"] = cross_entropy(labels, logits)
    table = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(classes))
    for true, row in enumerate(table):
        for answer, count in enumerate(row):
            result[f"true_{true}_predicted_{answer}"] = int(count)
    result |= majority_baseline(names, labels, classes)
    share = float(np.bincount(predicted).max() / len(predicted))
    result["top_answer_pct"] = 100 * share
    result["collapsed"] = int(share > COLLAPSE_SHARE)
    return result


def cross_entropy(labels: Labels, logits: np.ndarray) -> float:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())
