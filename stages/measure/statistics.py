"""Is the small model as good? Paired statistics of two models on the same rows.

A classification metric depends on the rows only through how many fall into each cell (true label,
first model's answer, second model's answer). Resampling rows with replacement is therefore one
multinomial draw over the cells, and 10,000 resamples take milliseconds. A correlation needs the
rows themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from stages.measure.metrics import METRICS

SEED = 0


@dataclass(frozen=True)
class Interval:
    """A bootstrap percentile interval, in the units of the statistic."""

    low: float
    high: float


# Numbers that one block of resampled rows or confusion matrices may hold.
BLOCK = 4_000_000


def resampled_scores(
    metric: str, labels: np.ndarray, answers: list[np.ndarray], samples: int
) -> list[np.ndarray]:
    """The metric of each model on the same resampled rows.

    Args:
        labels: shape (n,), integers from 0 on, or real numbers for a correlation.
        answers: one array of shape (n,) per model.

    Returns:
        Per model, shape (samples,).
    """
    random = np.random.default_rng(SEED)
    draw = of_rows if METRICS[metric].regression else of_cells
    blocks = list(draw(metric, labels, answers, samples, random))
    return [np.concatenate(model) for model in zip(*blocks, strict=True)]


def of_cells(
    metric: str,
    labels: np.ndarray,
    answers: list[np.ndarray],
    samples: int,
    random: np.random.Generator,
) -> Iterator[list[np.ndarray]]:
    """Blocks of scores of a metric on confusion matrices."""
    rows = np.stack([labels, *answers], axis=1)
    classes = max(2, int(rows.max()) + 1)
    cells, observed = np.unique(rows, axis=0, return_counts=True)
    block = max(1, BLOCK // classes**2)
    for start in range(0, samples, block):
        size = min(block, samples - start)
        drawn = random.multinomial(len(labels), observed / len(labels), size=size)
        scores = []
        for model in range(1, cells.shape[1]):
            place = np.zeros((len(cells), classes * classes))
            place[np.arange(len(cells)), cells[:, 0] * classes + cells[:, model]] = 1
            scores.append(
                METRICS[metric].resampled((drawn @ place).reshape(size, classes, classes))
            )
        yield scores


def of_rows(
    metric: str,
    labels: np.ndarray,
    answers: list[np.ndarray],
    samples: int,
    random: np.random.Generator,
) -> Iterator[list[np.ndarray]]:
    """Blocks of scores of a metric that needs the rows themselves."""
    block = max(1, BLOCK // len(labels))
    for start in range(0, samples, block):
        chosen = random.integers(len(labels), size=(min(block, samples - start), len(labels)))
        truth = labels[chosen]
        yield [METRICS[metric].resampled(truth, model[chosen]) for model in answers]


def interval(values: np.ndarray, confidence: float) -> Interval:
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return Interval(float(low), float(high))


def metric_interval(
    metric: str, labels: np.ndarray, answers: np.ndarray, samples: int, confidence: float
) -> Interval:
    """Bootstrap interval of one model's metric (a share, not points)."""
    (scores,) = resampled_scores(metric, labels, [answers], samples)
    return interval(scores, confidence)


def paired_drop_interval(
    metric: str,
    labels: np.ndarray,
    references: list[np.ndarray],
    variants: list[np.ndarray],
    samples: int,
    confidence: float,
) -> Interval:
    """Bootstrap interval of `metric(reference) - metric(variant)` in points (hundredths).

    Of several seeds it is the interval of their mean drop: rows are resampled, the same ones for
    all models; the seeds are taken as they are.

    Args:
        labels: shape (n,), integers, or real numbers for a correlation.
        references, variants: per seed an array of shape (n,): the answers of both models.
    """
    scores = resampled_scores(metric, labels, [*references, *variants], samples)
    before, after = scores[: len(references)], scores[len(references) :]
    drops = [100 * (one - two) for one, two in zip(before, after, strict=True)]
    return interval(np.mean(drops, axis=0), confidence)


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Exact two-sided p that two models are equally often right (McNemar 1947, binomial form).

    Args:
        first_right, second_right: shape (n,), bool: was each model right on each row?
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def wilcoxon(first_error: np.ndarray, second_error: np.ndarray) -> float:
    """Two-sided p that two regressions are equally far off (Wilcoxon's signed ranks, 1945).

    Args:
        first_error, second_error: shape (n,): distance of each model's answer from the label.
    """
    if (first_error == second_error).all():
        return 1.0
    return float(stats.wilcoxon(first_error, second_error).pvalue)


def mean_interval(values: list[float], confidence: float) -> Interval:
    """Student's t interval of the mean of independent runs, such as seeds.

    With one value there is none, and with two or three it is wide: 4.3 standard errors for three.

    Args:
        values: at least two.
    """
    spread = stats.sem(values)
    reach = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * spread)
    mean = float(np.mean(values))
    return Interval(mean - reach, mean + reach)
