"""Is the small model as good? Paired statistics of two models on the same rows.

A classification metric depends on the rows only through how many fall into each cell (true label,
first model's answer, second model's answer). A resample is therefore one draw of the cells' shares,
Dirichlet(counts) (Rubin, 1981, "The Bayesian Bootstrap"), and 10,000 of them take milliseconds. A
correlation needs the rows themselves (Efron, 1979).

Resampling knows what it has seen: where none of n answers changed it gives an interval of no width,
though as many as 3 in n may change. So each end of an interval reckons with one text more, of the
kind that moves it farthest. For a share this is Clopper and Pearson's interval (1934), whose ends
are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k) and which covers at least as often as it
says; for the other metrics docs/reading_a_report.md has how often it does.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from stages.measure.metrics import METRICS

SEED = 0
# Numbers that one block of resampled rows or confusion matrices may hold.
BLOCK = 4_000_000
# Of the texts that might come, those of the rarest and the commonest classes move a metric most.
MOST_CLASSES = 8
# How many times the texts at hand are thought of where it is asked how many would decide.
MOST_TIMES, STEPS = 1000, 12


@dataclass(frozen=True)
class Interval:
    """In the units of the statistic."""

    low: float
    high: float


class Cells:
    """Rows of classes, counted: (label, first model's answer, ...).

    Attributes:
        cells: integers (cells, 1 + models).
        counts: how many rows are in each, (cells,); they need not be whole numbers.
    """

    def __init__(self, metric: str, cells: np.ndarray, counts: np.ndarray) -> None:
        self.metric, self.cells, self.counts = metric, cells, counts

    @classmethod
    def of(cls, metric: str, labels: np.ndarray, answers: Sequence[np.ndarray]) -> "Cells":
        cells, counts = np.unique(np.stack([labels, *answers], 1), axis=0, return_counts=True)
        return cls(metric, cells, counts.astype(float))

    def that_may_come(self, groups: Sequence[int]) -> np.ndarray:
        """Cells (candidates, 1 + models) in which all models of a group answer alike.

        Args:
            groups: models in each.
        """
        classes = np.unique(self.cells[:, 0])
        support = [self.counts[self.cells[:, 0] == each].sum() for each in classes]
        ranked = classes[np.argsort(support, kind="stable")]
        half = MOST_CLASSES // 2
        labels = ranked if len(ranked) <= MOST_CLASSES else [*ranked[:half], *ranked[-half:]]
        given = np.unique(self.cells)
        answered = labels if len(given) > MOST_CLASSES else given
        found = []
        for label, *answers in itertools.product(labels, *[answered] * len(groups)):
            found.append([label, *np.repeat(answers, groups)])
        return np.array(found)

    def with_one_more(self, row: np.ndarray) -> "Cells":
        return Cells(self.metric, np.vstack([self.cells, row]), np.append(self.counts, 1.0))

    def times(self, factor: float) -> "Cells":
        """As many rows more, of the same kinds."""
        return Cells(self.metric, self.cells, factor * self.counts)

    def with_each(self, rows: np.ndarray) -> list[np.ndarray]:
        """Per model (rows,): scores with one of `rows` more."""
        more = Cells(self.metric, np.vstack([self.cells, rows]), self.counts)
        counts = np.broadcast_to(self.counts, (len(rows), len(self.counts)))
        return more.scores_of(np.hstack([counts, np.eye(len(rows))]))

    def drawn(self, samples: int, random: np.random.Generator) -> Iterator[list[np.ndarray]]:
        """Blocks of scores of resamples, per model (resamples,)."""
        classes = max(2, int(self.cells.max()) + 1)
        block = max(1, BLOCK // max(classes**2, len(self.cells)))
        for start in range(0, samples, block):
            size = (min(block, samples - start), len(self.counts))
            yield self.scores_of(random.standard_gamma(self.counts, size))

    def scores_of(self, counts: np.ndarray) -> list[np.ndarray]:
        """Per model (...,), of counts (..., cells)."""
        classes = max(2, int(self.cells.max()) + 1)
        scores = []
        for model in range(1, self.cells.shape[1]):
            at = self.cells[:, 0] * classes + self.cells[:, model]
            tables = np.empty((*counts.shape[:-1], classes * classes))
            width = max(1, BLOCK // len(self.cells))  # where there are many, not all at once
            for start in range(0, classes * classes, width):
                places = slice(start, min(start + width, classes * classes))
                here = np.flatnonzero((at >= places.start) & (at < places.stop))
                one_of = np.zeros((len(here), places.stop - places.start))
                one_of[np.arange(len(here)), at[here] - places.start] = 1
                tables[..., places] = np.take(counts, here, axis=-1) @ one_of
            tables = tables.reshape(*counts.shape[:-1], classes, classes)
            scores.append(METRICS[self.metric].resampled(tables))
        return scores


class Rows:
    """Rows of real numbers, (rows, 1 + models): label, first model's answer, ...

    Attributes:
        seen: those that stand for `factor` times as many.
    """

    def __init__(
        self, metric: str, rows: np.ndarray, factor: float = 1, seen: np.ndarray | None = None
    ) -> None:
        self.metric, self.rows, self.factor = metric, rows, factor
        self.seen = rows if seen is None else seen

    @classmethod
    def of(cls, metric: str, labels: np.ndarray, answers: Sequence[np.ndarray]) -> "Rows":
        return cls(metric, np.stack([labels, *answers], 1).astype(float))

    def that_may_come(self, groups: Sequence[int]) -> np.ndarray:
        """The rows of the least and the greatest label, whose last group answers otherwise.

        By as much as the first group at its worst misses a label, or, where that is more, twice
        as much as the last group ever differed from what comes before it.
        """
        last = groups[-1]
        before = self.rows[:, 1 : 1 + last] if len(groups) > 1 else self.rows[:, :1]
        apart = np.abs(self.rows[:, -last:] - before).max()
        far = max(2 * apart, np.abs(self.rows[:, 1:] - self.rows[:, :1]).max())
        found = []
        for row in (self.rows[:, 0].argmin(), self.rows[:, 0].argmax()):
            for by in (-far, far):
                one = self.rows[row].copy()
                one[-last:] = (before[row] + by)[:last]
                found.append(one)
        return np.array(found)

    def with_one_more(self, row: np.ndarray) -> "Rows":
        return Rows(self.metric, np.vstack([self.rows, row]), self.factor, self.seen)

    def times(self, factor: float) -> "Rows":
        return Rows(self.metric, self.rows, factor)

    def with_each(self, rows: np.ndarray) -> list[np.ndarray]:
        return self.scores_of(np.stack([np.vstack([self.rows, row]) for row in rows]))

    def drawn(self, samples: int, random: np.random.Generator) -> Iterator[list[np.ndarray]]:
        """What more rows would do is an estimate: all ends come nearer as the square root does."""
        block, count = max(1, BLOCK // self.rows.size), len(self.rows)
        here, nearer = self.scores_of(self.seen[None]), self.factor**-0.5
        for start in range(0, samples, block):
            chosen = random.integers(count, size=(min(block, samples - start), count))
            drawn = self.scores_of(self.rows[chosen])
            yield [at + nearer * (one - at) for at, one in zip(here, drawn, strict=True)]

    def scores_of(self, rows: np.ndarray) -> list[np.ndarray]:
        """Per model (...,), of rows (..., rows, 1 + models)."""
        score = METRICS[self.metric].resampled
        return [score(rows[..., 0], rows[..., model]) for model in range(1, rows.shape[-1])]


Seen = Cells | Rows


def seen(metric: str, labels: np.ndarray, answers: Sequence[np.ndarray]) -> Seen:
    kind = Rows if METRICS[metric].regression else Cells
    return kind.of(metric, labels, answers)


def statistic(scores: Sequence[np.ndarray], groups: Sequence[int]) -> np.ndarray:
    """Of one group the mean score; of two the first one's less the second one's in points."""
    parts = np.split(np.stack(scores), np.cumsum(groups)[:-1])
    means = [part.mean(0) for part in parts]
    result: np.ndarray = means[0] if len(means) == 1 else 100 * (means[0] - means[1])
    return result


def interval(
    rows: Seen, groups: Sequence[int], samples: int, confidence: float, unseen: bool = True
) -> Interval:
    """Of `statistic`.

    Args:
        groups: how many models, one after the other, are in each group.
        unseen: reckon with a text unlike all that were seen.
    """
    low_rows = high_rows = rows
    if unseen:
        coming = rows.that_may_come(groups)
        moved = statistic(rows.with_each(coming), groups)
        low_rows = rows.with_one_more(coming[moved.argmin()])
        high_rows = rows.with_one_more(coming[moved.argmax()])
    tail = 50 * (1 - confidence)

    def end(of: Seen, percent: float) -> float:
        blocks = of.drawn(samples, np.random.default_rng(SEED))
        return float(np.percentile(np.concatenate([statistic(b, groups) for b in blocks]), percent))

    return Interval(end(low_rows, tail), end(high_rows, 100 - tail))


def metric_interval(
    metric: str,
    labels: np.ndarray,
    answers: np.ndarray,
    samples: int,
    confidence: float,
    unseen: bool = True,
) -> Interval:
    """Of one model's metric (a share, not points).

    Args:
        labels: shape (n,), integers from 0 on, or real numbers for a correlation.
        answers: shape (n,).
        unseen: see `interval`.
    """
    return interval(seen(metric, labels, [answers]), [1], samples, confidence, unseen)


def paired_drop_interval(
    metric: str,
    labels: np.ndarray,
    references: Sequence[np.ndarray],
    variants: Sequence[np.ndarray],
    samples: int,
    confidence: float,
    unseen: bool = True,
) -> Interval:
    """Of `metric(reference) - metric(variant)` in points (hundredths).

    Of several seeds it is the interval of their mean drop: rows are resampled, the same ones for
    all models; the seeds are taken as they are.

    Args:
        labels: shape (n,), integers, or real numbers for a correlation.
        references, variants: per seed an array of shape (n,): the answers of both models.
        unseen: see `interval`.
    """
    rows = seen(metric, labels, [*references, *variants])
    return interval(rows, [len(references), len(variants)], samples, confidence, unseen)


def texts_to_decide(
    metric: str,
    labels: np.ndarray,
    references: Sequence[np.ndarray],
    variants: Sequence[np.ndarray],
    samples: int,
    confidence: float,
    budget: float,
) -> int | None:
    """How many more texts like these would put the whole interval on one side of `budget`.

    Returns:
        0 where these do; None where 1,000 times as many would not.
    """
    rows, groups = seen(metric, labels, [*references, *variants]), [len(references), len(variants)]

    def decided(factor: float) -> bool:
        found = interval(rows.times(factor), groups, samples, confidence)
        return found.high <= budget or found.low > budget

    if decided(1):
        return 0
    few, many = 1.0, float(MOST_TIMES)
    if not decided(many):
        return None
    for _ in range(STEPS):
        middle = (few * many) ** 0.5
        few, many = (few, middle) if decided(middle) else (middle, many)
    return round((many - 1) * len(labels))


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
