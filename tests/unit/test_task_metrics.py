"""Every task's metrics, computed a second way from what scikit-learn and scipy offer."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from stages import tasks
from stages.measure.metrics import METRICS

Metric = Callable[[np.ndarray, np.ndarray], float]


def per_class(labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _, _, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, predicted, zero_division=0
    )
    return f1, support


REFERENCE: dict[str, Metric] = {
    "f1": lambda labels, predicted: per_class(labels, predicted)[0][1],
    "weighted_f1": lambda labels, predicted: np.average(
        per_class(labels, predicted)[0], weights=per_class(labels, predicted)[1]
    ),
    "accuracy": lambda labels, predicted: 1 - sklearn_metrics.zero_one_loss(labels, predicted),
    # Of two classes it is the correlation of their numbers, and tested with two classes only.
    "matthews": lambda labels, predicted: stats.pearsonr(labels, predicted).statistic,
    "pearson": lambda labels, predicted: np.corrcoef(labels, predicted)[0, 1],
    "spearman": lambda labels, predicted: (
        stats.pearsonr(stats.rankdata(labels), stats.rankdata(predicted)).statistic
    ),
}
PAIRS = [
    (task, metric) for task in tasks.names() for metric in tasks.dataset(task, {}).task.metrics
]


@pytest.mark.parametrize(("task", "metric"), PAIRS)
def test_a_task_s_metric_equals_the_reference(task: str, metric: str) -> None:
    definition = tasks.dataset(task, {}).task
    random = np.random.default_rng(0)
    labels: np.ndarray
    predicted: np.ndarray
    if definition.regression:
        labels = random.integers(0, 26, size=500) / 5  # with ties, as STS-B has
        predicted = labels + random.normal(size=500)
    else:
        classes = max(2, len(definition.labels))
        labels = random.integers(0, classes, size=500)
        wrong = random.random(500) < 0.3
        predicted = np.where(wrong, random.integers(0, classes, size=500), labels)
    assert METRICS[metric].score(labels, predicted) == pytest.approx(
        REFERENCE[metric](labels, predicted), abs=1e-12
    )


def test_glue_s_own_metrics_are_the_ones_that_decide() -> None:
    """Wang et al. (2019), table 1; QQP and MRPC are decided by F1, MNLI by its matched half."""
    assert {
        task: tasks.dataset(task, {}).task.metrics
        for task in ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
    } == {
        "cola": ("matthews",),
        "sst2": ("accuracy",),
        "mrpc": ("f1", "accuracy"),
        "stsb": ("pearson", "spearman"),
        "qqp": ("f1", "accuracy"),
        "mnli": ("accuracy",),
        "qnli": ("accuracy",),
        "rte": ("accuracy",),
        "wnli": ("accuracy",),
    }
