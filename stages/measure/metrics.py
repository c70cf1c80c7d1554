"""The metrics that a task can be scored by: the one list of them, each in two forms.

`score` judges one model's answers. `resampled` judges many resamples of them at once, for
intervals: a classification metric from confusion matrices, a correlation from the rows themselves.
Imports nothing slow, because params.yaml is checked with it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Labels = np.ndarray


@dataclass(frozen=True)
class Metric:
    """A score that is higher for a better model.

    Attributes:
        score: labels and answers, shape (n,) each -> a number.
        resampled: confusion matrices (..., classes, classes), true label first -> (...); of a
            regression labels and answers (..., n) -> (...).
        regression: labels and answers are real numbers.
    """

    score: Callable[[np.ndarray, np.ndarray], float]
    resampled: Callable[..., np.ndarray]
    regression: bool = False


def f1(labels: Labels, answers: Labels) -> float:
    """Of class 1, as GLUE scores MRPC and QQP; 0 where it is never predicted and never true."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, answers, zero_division=0))


def f1_of_confusions(confusion: np.ndarray) -> np.ndarray:
    hits = confusion[..., 1, 1]
    total = 2 * hits + confusion[..., 0, 1] + confusion[..., 1, 0]
    return np.divide(2 * hits, total, out=np.zeros(hits.shape), where=total > 0)


def weighted_f1(labels: Labels, answers: Labels) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, answers, average="weighted", zero_division=0))


def weighted_f1_of_confusions(confusion: np.ndarray) -> np.ndarray:
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).astype(float)
    support, answered = confusion.sum(-1), confusion.sum(-2)
    total = support + answered
    per_class = np.divide(2 * hits, total, out=np.zeros(hits.shape), where=total > 0)
    result: np.ndarray = (per_class * support).sum(-1) / support.sum(-1)
    return result


def accuracy(labels: Labels, answers: Labels) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, answers))


def accuracy_of_confusions(confusion: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))
    return result


def matthews(labels: Labels, answers: Labels) -> float:
    """CoLA's metric; 0 for a constant answer."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, answers))


def matthews_of_confusions(confusion: np.ndarray) -> np.ndarray:
    """Gorodkin's form for any number of classes; 0 for a constant answer."""
    confusion = confusion.astype(float)
    rows, support, answered = confusion.sum((-2, -1)), confusion.sum(-1), confusion.sum(-2)
    covariance = np.trace(confusion, axis1=-2, axis2=-1) * rows - (support * answered).sum(-1)
    spread = (rows**2 - (answered**2).sum(-1)) * (rows**2 - (support**2).sum(-1))
    return np.divide(covariance, np.sqrt(spread), out=np.zeros_like(covariance), where=spread > 0)


def pearson(labels: np.ndarray, answers: np.ndarray) -> float:
    """0 where either side is constant: such answers say nothing about the order of anything."""
    from scipy.stats import pearsonr

    constant = np.ptp(labels) == 0 or np.ptp(answers) == 0
    return 0.0 if constant else float(pearsonr(labels, answers).statistic)


def pearson_of_rows(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Along the last axis; 0 where either side is constant."""
    x = labels - labels.mean(-1, keepdims=True)
    y = answers - answers.mean(-1, keepdims=True)
    spread = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    return np.divide((x * y).sum(-1), spread, out=np.zeros(spread.shape), where=spread > 0)


def spearman(labels: np.ndarray, answers: np.ndarray) -> float:
    """0 where either side is constant."""
    from scipy.stats import spearmanr

    constant = np.ptp(labels) == 0 or np.ptp(answers) == 0
    return 0.0 if constant else float(spearmanr(labels, answers).statistic)


def spearman_of_rows(labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Along the last axis; 0 where either side is constant."""
    from scipy.stats import rankdata

    return pearson_of_rows(rankdata(labels, axis=-1), rankdata(answers, axis=-1))


METRICS = {
    "f1": Metric(f1, f1_of_confusions),
    "weighted_f1": Metric(weighted_f1, weighted_f1_of_confusions),
    "accuracy": Metric(accuracy, accuracy_of_confusions),
    "matthews": Metric(matthews, matthews_of_confusions),
    "pearson": Metric(pearson, pearson_of_rows, regression=True),
    "spearman": Metric(spearman, spearman_of_rows, regression=True),
}
REGRESSION_METRICS = tuple(name for name, metric in METRICS.items() if metric.regression)
