"""Paired statistics against statsmodels, scipy, scikit-learn, closed forms and published values."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics
from statsmodels.stats import contingency_tables

from stages.measure import statistics
from stages.measure.metrics import METRICS, Metric
from stages.measure.statistics import Interval
from stages.measure.verdict import verdict

ROWS = 408  # of MRPC's validation split
RESAMPLES = 8_000

Table = list[list[int]]

# ---- McNemar


def rights(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Was each model right on each row? `table[i][j]`: rows where the first was not i, the second
    not j, so that table[0][0] counts the rows that both have right."""
    counts = np.ravel(table)
    first = np.repeat([True, True, False, False], counts)
    second = np.repeat([True, False, True, False], counts)
    return first, second


def both(table: Table) -> tuple[float, float]:
    """p of ours and of statsmodels."""
    theirs = contingency_tables.mcnemar(table, exact=True).pvalue
    return statistics.mcnemar(*rights(table)), float(theirs)


@pytest.mark.parametrize("largest", [5, 40, 2000])
def test_mcnemar_equals_statsmodels_on_random_tables(largest: int) -> None:
    random = np.random.default_rng(largest)
    for _ in range(100):
        ours, theirs = both(random.integers(0, largest + 1, size=(2, 2)).tolist())
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_mcnemar_equals_statsmodels_on_all_small_tables() -> None:
    for only_first in range(13):
        for only_second in range(13):
            ours, theirs = both([[3, only_first], [only_second, 0]])
            assert ours == pytest.approx(theirs, rel=1e-9), (only_first, only_second)


def test_mcnemar_depends_on_the_disagreements_only_and_not_on_their_order() -> None:
    expected = statistics.mcnemar(*rights([[0, 9], [2, 0]]))
    assert statistics.mcnemar(*rights([[300, 9], [2, 97]])) == expected
    assert statistics.mcnemar(*rights([[300, 2], [9, 97]])) == pytest.approx(expected)


# As statsmodels' own tests record them (test_nonparametric.py, test_mcnemar_exact).
VASSAR = [
    ([[101, 121], [59, 33]], 0.000004),
    ([[101, 70], [59, 33]], 0.378688),
    ([[101, 80], [59, 33]], 0.089452),
    ([[101, 30], [60, 33]], 0.002060),
    ([[101, 10], [30, 33]], 0.002221),
    ([[101, 10], [10, 33]], 1.0),
]


@pytest.mark.parametrize(("table", "published"), VASSAR)
def test_mcnemar_gives_the_exact_p_of_vassarstats(table: Table, published: float) -> None:
    assert statistics.mcnemar(*rights(table)) == pytest.approx(published, abs=5e-7)


def mid_p(table: Table) -> float:
    """The exact p less the probability of the observed split, by which the mid-p is defined."""
    (_, only_first), (only_second, _) = table
    split = stats.binom.pmf(only_first, only_first + only_second, 0.5)
    return statistics.mcnemar(*rights(table)) - float(split)


def test_mcnemar_leads_to_the_mid_p_that_wikipedia_prints() -> None:
    """Article "McNemar's test", second example: mid-p = 0.035."""
    assert mid_p([[59, 6], [16, 80]]) == pytest.approx(0.035, abs=5e-4)


def test_mcnemar_on_a_gunma_university_lecture() -> None:
    """S. Aoki's page on McNemar's test in R: binom.test(c(35, 28)) prints p-value = 0.45."""
    assert statistics.mcnemar(*rights([[48, 28], [35, 53]])) == pytest.approx(0.45, abs=5e-4)


def test_mcnemar_lies_between_the_two_approximations_of_agrestis_table() -> None:
    """Categorical Data Analysis, 2nd edition, section 10.1: (150 - 86)^2 / (150 + 86) = 17.36."""
    table = [[794, 150], [86, 570]]
    plain = contingency_tables.mcnemar(table, exact=False, correction=False)
    corrected = contingency_tables.mcnemar(table, exact=False, correction=True)
    assert plain.statistic == pytest.approx(17.36, abs=5e-3)
    assert plain.pvalue < statistics.mcnemar(*rights(table)) < corrected.pvalue


# ---- bootstrap intervals

Statistic = Callable[..., np.ndarray]


def accuracy(labels: np.ndarray, predicted: np.ndarray, axis: int) -> np.ndarray:
    result: np.ndarray = (labels == predicted).mean(axis)
    return result


def f1(labels: np.ndarray, predicted: np.ndarray, axis: int, of: int = 1) -> np.ndarray:
    hits = ((labels == of) & (predicted == of)).sum(axis)
    result: np.ndarray = 2 * hits / ((labels == of).sum(axis) + (predicted == of).sum(axis))
    return result


def weighted_f1(labels: np.ndarray, predicted: np.ndarray, axis: int) -> np.ndarray:
    shares = [(labels == c).mean(axis) * f1(labels, predicted, axis, of=c) for c in range(3)]
    return np.sum(shares, axis=0)


def matthews(labels: np.ndarray, predicted: np.ndarray, axis: int) -> np.ndarray:
    """Of two classes: Pearson's correlation."""
    covariance = (labels * predicted).mean(axis) - labels.mean(axis) * predicted.mean(axis)
    result: np.ndarray = covariance / (labels.std(axis) * predicted.std(axis))
    return result


# Written from the definitions, on rows; ours work on counts.
SCORES: dict[str, tuple[Statistic, int]] = {
    "accuracy": (accuracy, 2),
    "f1": (f1, 2),
    "weighted_f1": (weighted_f1, 3),
    "matthews": (matthews, 2),
}


def altered(
    random: np.random.Generator, answers: np.ndarray, share: float, classes: int
) -> np.ndarray:
    """`answers`, about `share` of them replaced by another class."""
    other = (answers + random.integers(1, classes, size=len(answers))) % classes
    return np.where(random.random(len(answers)) < share, other, answers)


def predictions(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a model with about 85 % right, and another that differs from it in about 6 %."""
    random = np.random.default_rng(seed)
    labels = np.minimum(random.integers(0, classes + 1, size=ROWS), classes - 1)
    first = altered(random, labels, 0.15, classes)
    return labels, first, altered(random, first, 0.06, classes)


def assert_agrees_with_scipy(
    ours: Interval, statistic: Statistic, samples: tuple[np.ndarray, ...], confidence: float
) -> None:
    """Both ends, in points, within the Monte-Carlo error of two bootstraps and one row.

    The 2.5 % quantile of a normal distribution of deviation s, found from B draws, has the
    standard error sqrt(0.025 * 0.975 / B) / (0.0584 / s) = 2.67 s / sqrt(B); both sides have it,
    and 4 of these differences are allowed. At B = 8,000 that is 0.17 s, 0.2 points at s = 1.2. A
    metric moves in steps of one row, 100 / 408 points, and so may a quantile of it. For comparison:
    resampling that loses the pairing of two models moves the ends by 2 points and more.
    """
    theirs = stats.bootstrap(
        samples, statistic, paired=True, vectorized=True, method="percentile", batch=1_000,
        n_resamples=RESAMPLES, confidence_level=confidence, rng=np.random.default_rng(5),
    )  # fmt: skip
    found = theirs.confidence_interval
    tolerance = 4 * np.sqrt(2) * 2.67 / np.sqrt(RESAMPLES) * theirs.standard_error + 100 / ROWS
    assert tolerance < 0.15 * (found.high - found.low)
    assert (ours.low, ours.high) == pytest.approx((found.low, found.high), abs=tolerance)


@pytest.mark.parametrize("metric", sorted(SCORES))
@pytest.mark.parametrize(("seed", "confidence"), [(1, 0.95), (2, 0.95), (3, 0.9)])
def test_the_interval_of_a_drop_agrees_with_scipys_bootstrap(
    metric: str, seed: int, confidence: float
) -> None:
    score, classes = SCORES[metric]
    samples = predictions(seed, classes)

    def drop(y: np.ndarray, a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return 100 * (score(y, a, axis) - score(y, b, axis))

    labels, first, second = samples
    ours = statistics.paired_drop_interval(
        metric, labels, [first], [second], RESAMPLES, confidence, unseen=False
    )
    assert_agrees_with_scipy(ours, drop, samples, confidence)


@pytest.mark.parametrize("metric", sorted(SCORES))
def test_the_interval_of_a_metric_agrees_with_scipys_bootstrap(metric: str) -> None:
    score, classes = SCORES[metric]
    labels, predicted, _ = predictions(4, classes)

    def points(y: np.ndarray, a: np.ndarray, axis: int = -1) -> np.ndarray:
        return 100 * score(y, a, axis)

    ours = statistics.metric_interval(metric, labels, predicted, RESAMPLES, 0.95, unseen=False)
    in_points = Interval(100 * ours.low, 100 * ours.high)
    assert_agrees_with_scipy(in_points, points, (labels, predicted), 0.95)


@pytest.mark.parametrize("right", [204, 350, 400])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_of_accuracy_is_that_of_the_binomial_distribution(
    right: int, confidence: float
) -> None:
    """Shares of resampled rows that are right are Beta(right, n - right): known without draws."""
    predicted = np.repeat([1, 0], [right, ROWS - right])
    found = statistics.metric_interval("accuracy", np.ones(ROWS, int), predicted, 20_000,
                                       confidence, unseen=False)  # fmt: skip
    tail = (1 - confidence) / 2
    expected = ROWS * stats.beta.ppf([tail, 1 - tail], right, ROWS - right)
    assert (ROWS * found.low, ROWS * found.high) == pytest.approx(tuple(expected), abs=1.01)


def test_both_models_are_scored_on_the_same_resampled_rows() -> None:
    labels, first, _ = predictions(6, classes=2)
    rows = statistics.seen("accuracy", labels, [first, 1 - first])
    right, wrong = next(rows.drawn(500, np.random.default_rng(0)))
    np.testing.assert_allclose(right + wrong, 1.0)
    expected = (first == labels).mean()
    # 500 draws, 5 standard errors.
    assert abs(right.mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / ROWS / 500)
    assert right.std() == pytest.approx(np.sqrt(expected * (1 - expected) / ROWS), rel=0.2)


def test_many_classes_are_resampled_in_blocks_that_fit_into_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random, classes, blocks = np.random.default_rng(14), 100, []
    labels = random.integers(classes, size=1000)
    answers = np.where(random.random(1000) < 0.3, random.integers(classes, size=1000), labels)
    whole = statistics.metric_interval("accuracy", labels, answers, 60, 0.95, unseen=False)
    assert whole.low < (labels == answers).mean() < whole.high

    accuracy = METRICS["accuracy"]

    def noted(confusions: np.ndarray) -> np.ndarray:
        blocks.append(confusions.size)
        return accuracy.resampled(confusions)

    monkeypatch.setitem(METRICS, "accuracy", Metric(accuracy.score, noted))
    monkeypatch.setattr(statistics, "BLOCK", 16 * classes**2)
    again = statistics.metric_interval("accuracy", labels, answers, 60, 0.95, unseen=False)
    assert again == whole
    assert blocks == [size * classes**2 for size in (16, 16, 16, 12)] * 2  # of either end


# ---- regression


def scores_of(seed: int, rows: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels with ties, as STS-B's, and two models' answers that are much alike."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 26, rows) / 5
    first = labels + random.normal(0, 1.0, rows)
    return labels, first, first + random.normal(0, 0.3, rows)


@pytest.mark.parametrize("metric", ["pearson", "spearman"])
def test_the_interval_of_a_drop_in_correlation_agrees_with_scipys_bootstrap(metric: str) -> None:
    theirs_of = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[metric]
    samples = scores_of(1)

    def drop(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return 100 * float(theirs_of(y, a).statistic - theirs_of(y, b).statistic)

    theirs = stats.bootstrap(
        samples, drop, paired=True, vectorized=False, n_resamples=2000,
        method="percentile", rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    labels, first, second = samples
    ours = statistics.paired_drop_interval(metric, labels, [first], [second], 10_000, 0.95,
                                           unseen=False)  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.25)


def test_correlations_of_a_stack_equal_scipys_row_by_row_and_a_constant_has_none() -> None:
    labels, first, _ = scores_of(2, rows=40)
    stack = np.stack([first, np.full(40, 3.0), -labels])
    wide = np.broadcast_to(labels, stack.shape)
    for name, theirs in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        found = METRICS[name].resampled(wide, stack)
        assert found == pytest.approx([theirs(labels, first).statistic, 0.0, -1.0])


def test_wilcoxon_is_scipys_and_equal_errors_have_p_one() -> None:
    labels, first, second = scores_of(3)
    errors = np.abs(first - labels), np.abs(second - labels)
    assert statistics.wilcoxon(*errors) == pytest.approx(stats.wilcoxon(*errors).pvalue)
    assert statistics.wilcoxon(errors[0], errors[0]) == 1.0


@pytest.mark.parametrize("metric", ["f1", "accuracy"])
def test_a_95_percent_interval_covers_the_true_drop_in_about_95_percent_of_samples(
    metric: str,
) -> None:
    """300 samples of 408 rows: a share of 95 % has the standard error 1.3 %, 91 to 98 % is 3."""
    cells = np.array([(y, a, b) for y in (0, 1) for a in (0, 1) for b in (0, 1)])
    share = np.array([0.22, 0.03, 0.02, 0.05, 0.07, 0.02, 0.04, 0.55])
    y, a, b = cells.T
    score = {"f1": sklearn_metrics.f1_score, "accuracy": sklearn_metrics.accuracy_score}[metric]
    truth = 100 * (score(y, a, sample_weight=share) - score(y, b, sample_weight=share))
    assert abs(truth) > 0.5
    random, covered = np.random.default_rng(7), 0
    for _ in range(300):
        labels, first, second = np.repeat(cells, random.multinomial(ROWS, share), axis=0).T
        found = statistics.paired_drop_interval(metric, labels, [first], [second], 500, 0.95)
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_metrics_of_a_stack_equal_scikit_learn_where_classes_are_missing() -> None:
    """As in resamples with rare classes: no row of a class, no answer of a class."""
    random = np.random.default_rng(8)
    drawn = random.integers(4, size=(50, 2, 6))
    tables = np.stack([sklearn_metrics.confusion_matrix(y, a, labels=range(4)) for y, a in drawn])
    theirs = {
        "accuracy": [sklearn_metrics.accuracy_score(y, a) for y, a in drawn],
        "matthews": [sklearn_metrics.matthews_corrcoef(y, a) for y, a in drawn],
        "weighted_f1": [
            sklearn_metrics.f1_score(y, a, average="weighted", zero_division=0) for y, a in drawn
        ],
    }
    assert (tables.sum(-1) == 0).any()
    assert (tables.sum(-2) == 0).any()
    for metric, expected in theirs.items():
        np.testing.assert_allclose(
            METRICS[metric].resampled(tables), expected, atol=1e-12, err_msg=metric
        )


# ---- verdict

WORST_TO_BEST = ["over budget", "undecided at this n", "within budget"]


@pytest.mark.parametrize(
    ("low", "high", "budget", "expected"),
    [
        (0.0, 0.0, 0.0, "within budget"),  # the same answers
        (0.1, 0.1, 0.0, "over budget"),
        (-0.1, 0.0, 0.0, "within budget"),
        (0.0, 0.1, 0.0, "undecided at this n"),
        (-5.0, -4.0, 0.0, "within budget"),  # better than the reference
        (1.5, 1.5, 1.5, "within budget"),
        (1.5, 1.6, 1.5, "undecided at this n"),  # the budget itself is allowed
        (1.51, 1.6, 1.5, "over budget"),
        (-9.0, 9.0, 1.5, "undecided at this n"),
        (float("nan"), float("nan"), 1.5, "undecided at this n"),
    ],
)
def test_verdict(low: float, high: float, budget: float, expected: str) -> None:
    assert verdict(Interval(low, high), budget) == expected


POINTS = st.floats(-100, 100)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(POINTS, POINTS, POINTS, st.floats(0, 100))
def test_a_larger_budget_never_makes_a_verdict_worse(
    one: float, other: float, budget: float, more: float
) -> None:
    drop = Interval(min(one, other), max(one, other))
    verdicts = [verdict(drop, b) for b in (budget, budget + more)]
    assert WORST_TO_BEST.index(verdicts[0]) <= WORST_TO_BEST.index(verdicts[1])


def test_the_interval_of_the_mean_drop_of_three_seeds_agrees_with_scipys_bootstrap() -> None:
    """Rows are resampled, the same ones for all six models."""
    labels = predictions(11, 2)[0]
    random = np.random.default_rng(12)
    flip = [random.random(len(labels)) < share for share in (0.15, 0.16, 0.14, 0.04, 0.05, 0.03)]
    before = [np.where(flip[i], 1 - labels, labels) for i in range(3)]
    after = [np.where(flip[3 + i], 1 - before[i], before[i]) for i in range(3)]

    def mean_drop(y: np.ndarray, *answers: np.ndarray, axis: int = -1) -> np.ndarray:
        right = [(each == y).mean(axis=axis) for each in answers]
        return 100 * np.mean([right[i] - right[3 + i] for i in range(3)], axis=0)

    theirs = stats.bootstrap(
        (labels, *before, *after), mean_drop, paired=True, vectorized=True, n_resamples=5000,
        method="percentile", rng=np.random.default_rng(13),
    ).confidence_interval  # fmt: skip
    ours = statistics.paired_drop_interval(
        "accuracy", labels, before, after, 5000, 0.95, unseen=False
    )
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.15)


def test_the_interval_of_a_mean_agrees_with_scipys_t_interval() -> None:
    drops = [0.3, -0.2, 0.9]
    theirs = stats.ttest_1samp(drops, 0.0).confidence_interval(0.95)
    ours = statistics.mean_interval(drops, 0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
