"""Paired statistics, against scikit-learn, scipy and published examples."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from stages.measure import accuracy, statistics
from stages.measure.metrics import METRICS, REGRESSION_METRICS
from stages.measure.statistics import Interval
from stages.measure.timing import percentile, summarize
from stages.measure.verdict import verdict

CLASSIFYING = [name for name in METRICS if name not in REGRESSION_METRICS]


@pytest.mark.parametrize("metric", CLASSIFYING)
@pytest.mark.parametrize("classes", [2, 5])
def test_a_metric_of_a_confusion_matrix_is_that_of_its_rows(metric: str, classes: int) -> None:
    if metric == "f1" and classes > 2:
        pytest.skip("F1 of class 1 is defined for two classes")
    random = np.random.default_rng(1)
    for _ in range(20):
        labels, predicted = random.integers(classes, size=(2, 60))
        table = sklearn_metrics.confusion_matrix(labels, predicted, labels=range(classes))
        expected = METRICS[metric].score(labels, predicted)
        assert METRICS[metric].resampled(table) == pytest.approx(expected)


@pytest.mark.parametrize("metric", REGRESSION_METRICS)
def test_a_correlation_of_resampled_rows_is_that_of_the_rows(metric: str) -> None:
    random = np.random.default_rng(1)
    labels = random.integers(0, 26, size=(20, 60)) / 5  # with ties, as STS-B has
    predicted = labels + random.normal(size=labels.shape)
    expected = [METRICS[metric].score(*rows) for rows in zip(labels, predicted, strict=True)]
    assert METRICS[metric].resampled(labels, predicted) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["f1", "matthews"])
def test_a_constant_answer_scores_zero_not_nan(metric: str) -> None:
    labels, constant = np.array([0, 1, 1, 0]), np.zeros(4, dtype=int)
    table = sklearn_metrics.confusion_matrix(labels, constant, labels=[0, 1])
    assert METRICS[metric].resampled(table) == 0
    assert METRICS[metric].score(labels, constant) == 0


@pytest.mark.parametrize("metric", REGRESSION_METRICS)
def test_a_constant_answer_correlates_with_nothing(metric: str) -> None:
    labels, constant = np.array([0.0, 1.0, 1.5, 0.0]), np.ones(4)
    assert METRICS[metric].resampled(labels, constant) == 0
    assert METRICS[metric].score(labels, constant) == 0


def test_paired_interval_agrees_with_scipys_bootstrap() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(2, size=408)
    first = np.where(random.random(408) < 0.15, 1 - labels, labels)
    second = np.where(random.random(408) < 0.05, 1 - first, first)

    def drop(y: np.ndarray, a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        right: np.ndarray = 100 * ((a == y).mean(axis=axis) - (b == y).mean(axis=axis))
        return right

    theirs = stats.bootstrap(
        (labels, first, second), drop, paired=True, vectorized=True, n_resamples=10_000,
        method="percentile", rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    ours = statistics.paired_drop_interval(
        "accuracy", labels, [first], [second], samples=10_000, confidence=0.95, unseen=False
    )
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.3)


def changed(texts: int, harmed: int, helped: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and two models' answers, of which so many changed for the worse and the better."""
    labels = np.array([0, 1] * (texts // 2))
    first, second = labels.copy(), labels.copy()
    second[:harmed] = 1 - labels[:harmed]
    first[harmed : harmed + helped] = 1 - labels[harmed : harmed + helped]
    return labels, first, second


@pytest.mark.parametrize("texts", [50, 200, 408, 2000])
@pytest.mark.parametrize("harmed", [0, 1, 4])
def test_a_drop_of_accuracy_reaches_as_far_as_clopper_and_pearson_say(
    texts: int, harmed: int
) -> None:
    labels, first, second = changed(texts, harmed)
    found = statistics.paired_drop_interval("accuracy", labels, [first], [second], 20_000, 0.95)
    expected = stats.binomtest(harmed, texts).proportion_ci(0.95, "exact").high
    assert found.high == pytest.approx(100 * expected, rel=0.03)


@pytest.mark.parametrize("right", [200, 199, 190])
def test_an_accuracy_has_clopper_and_pearsons_interval(right: int) -> None:
    labels, _, answers = changed(200, 200 - right)
    found = statistics.metric_interval("accuracy", labels, answers, 20_000, 0.95)
    expected = stats.binomtest(right, 200).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.001)


@pytest.mark.parametrize("metric", METRICS)
def test_what_did_not_change_on_few_texts_may_change_on_others(metric: str) -> None:
    labels, answers = np.array([0, 1] * 50), np.array([0, 1, 1, 1] * 25)
    spread = statistics.paired_drop_interval(metric, labels, [answers], [answers], 500, 0.95)
    assert spread.low < 0 < spread.high
    more = [np.tile(each, 30) for each in (labels, answers)]
    if metric not in REGRESSION_METRICS:
        narrow = statistics.paired_drop_interval(metric, more[0], more[1:], more[1:], 500, 0.95)
        assert narrow.high < spread.high / 15
    only_seen = statistics.paired_drop_interval(
        metric, labels, [answers], [answers], 500, 0.95, unseen=False
    )
    assert only_seen == Interval(0.0, 0.0)


def test_the_text_that_may_come_is_of_the_class_that_counts() -> None:
    """Of 100 texts two are of class 2, whose F1 has a weight of 2 %; of class 0 it is most."""
    labels = np.repeat([0, 1, 2], [60, 38, 2])
    spread = {
        metric: statistics.paired_drop_interval(metric, labels, [labels], [labels], 10_000, 0.95)
        for metric in ("accuracy", "weighted_f1", "matthews")
    }
    assert spread["accuracy"].high == pytest.approx(3.62, abs=0.25)  # Clopper and Pearson, 0 of 100
    assert spread["weighted_f1"].high > 3
    assert spread["matthews"].high > spread["accuracy"].high


def test_of_many_classes_only_some_are_tried_and_the_interval_is_narrow() -> None:
    labels = np.arange(3000) % 100
    found = statistics.paired_drop_interval("weighted_f1", labels, [labels], [labels], 100, 0.95)
    assert 0 < found.high < 1


def test_how_many_more_texts_would_decide() -> None:
    few = changed(200, 1)
    more = statistics.texts_to_decide("accuracy", few[0], [few[1]], [few[2]], 2000, 0.95, 1.0)
    assert more is not None
    factor = 1 + more / 200
    reach = stats.beta.ppf(0.975, factor * 1 + 1, factor * 199)
    assert 100 * reach == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize(
    ("harmed", "budget", "expected"),
    [(0, 2.0, 0), (40, 1.0, 0), (2, 1.0, None)],
    ids=["within", "over", "the drop is the budget"],
)
def test_no_more_texts_are_asked_for_where_they_would_change_nothing(
    harmed: int, budget: float, expected: int | None
) -> None:
    labels, first, second = changed(200, harmed)
    found = statistics.texts_to_decide("accuracy", labels, [first], [second], 2000, 0.95, budget)
    assert found == expected


def test_more_scores_of_a_regression_decide_too() -> None:
    random = np.random.default_rng(7)
    labels = random.integers(0, 26, 100) / 5
    first = labels + random.normal(0, 0.8, 100)
    second = first + random.normal(0, 0.05, 100)
    more = statistics.texts_to_decide("pearson", labels, [first], [second], 500, 0.95, 1.0)
    assert more is not None
    assert 100 < more < 20_000


def test_identical_answers_have_p_one() -> None:
    labels, predicted = np.array([0, 1] * 50), np.array([0, 1, 1, 1] * 25)
    assert statistics.mcnemar(predicted == labels, predicted == labels) == 1.0


def flipped(answers: np.ndarray, share: float, seed: int) -> np.ndarray:
    where = np.random.default_rng(seed).random(len(answers)) < share
    result: np.ndarray = np.where(where, 1 - answers, answers)
    return result


def test_the_interval_of_several_seeds_is_that_of_their_mean_drop() -> None:
    labels = np.random.default_rng(4).integers(2, size=300)
    references = [flipped(labels, 0.15, seed) for seed in (1, 2, 3)]
    ours = [flipped(each, 0.1, seed) for seed, each in enumerate(references, start=4)]

    def mean_drop(y: np.ndarray, *answers: np.ndarray, axis: int = -1) -> np.ndarray:
        right = [(each == y).mean(axis=axis) for each in answers]
        result: np.ndarray = 100 * (np.mean(right[:3], axis=0) - np.mean(right[3:], axis=0))
        return result

    theirs = stats.bootstrap(
        (labels, *references, *ours), mean_drop, paired=True, vectorized=True, n_resamples=10_000,
        method="percentile", rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    found = statistics.paired_drop_interval(
        "accuracy", labels, references, ours, samples=10_000, confidence=0.95, unseen=False
    )
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.3)


def test_a_seed_counted_twice_proves_no_more_than_once() -> None:
    labels = np.random.default_rng(5).integers(2, size=200)
    first, second = flipped(labels, 0.1, 1), flipped(labels, 0.2, 2)
    once = statistics.paired_drop_interval("f1", labels, [first], [second], 1000, 0.95)
    twice = statistics.paired_drop_interval("f1", labels, [first] * 2, [second] * 2, 1000, 0.95)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_what_one_seed_loses_and_another_wins_cancels() -> None:
    labels = np.array([0, 1] * 100)
    good, bad = labels, flipped(labels, 0.2, 1)
    spread = statistics.paired_drop_interval(
        "accuracy", labels, [good, bad], [bad, good], 500, 0.95, unseen=False
    )
    assert (spread.low, spread.high) == pytest.approx((0, 0))


@pytest.mark.parametrize("values", [[0.3, -0.2], [1.0, 2.0, 4.0], [0.5, 0.1, 0.2, -0.9, 1.1]])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_over_seeds_is_students(values: list[float], confidence: float) -> None:
    theirs = stats.ttest_1samp(values, 0.0).confidence_interval(confidence)
    ours = statistics.mean_interval(values, confidence)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_three_seeds_reach_four_standard_errors_far() -> None:
    ours = statistics.mean_interval([-1.0, 0.0, 1.0], 0.95)
    assert ours.high == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert ours.low == pytest.approx(-ours.high)


def test_mcnemar_on_a_published_table() -> None:
    """Agresti's approval ratings (Categorical Data Analysis, table 10.1): 150 against 86."""
    first = np.array([True] * (794 + 150) + [False] * (86 + 570))
    second = np.array([True] * 794 + [False] * 150 + [True] * 86 + [False] * 570)
    expected = stats.binomtest(86, 150 + 86).pvalue
    assert statistics.mcnemar(first, second) == pytest.approx(expected)
    assert expected == pytest.approx(3.7e-5, rel=0.05)


def test_five_one_way_flips_can_never_be_significant() -> None:
    def p(flips: int) -> float:
        second = np.array([False] * flips + [True] * (408 - flips))
        return statistics.mcnemar(np.ones(408, dtype=bool), second)

    assert p(5) > 0.05 > p(6)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.5, 1.0, "within budget"),
        (-3.0, -1.0, "within budget"),
        (-0.5, 1.1, "undecided at this n"),
        (1.0, 2.0, "undecided at this n"),
        (1.1, 2.0, "over budget"),
    ],
)
def test_verdict_against_a_budget_of_one_point(low: float, high: float, expected: str) -> None:
    assert verdict(Interval(low, high), budget=1.0) == expected


def test_score_reports_metrics_loss_confusion_and_baseline() -> None:
    labels = np.array([1, 1, 1, 0])
    logits = np.array([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0]], dtype=np.float32)
    result = accuracy.score(("f1", "accuracy"), labels, logits)
    assert result["accuracy"] == 0.75
    assert result["f1"] == pytest.approx(0.8)
    assert result["majority_f1"] == pytest.approx(6 / 7)
    assert result["majority_accuracy"] == 0.75
    assert [result[f"true_{t}_predicted_{p}"] for t in (0, 1) for p in (0, 1)] == [1, 0, 1, 2]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert result["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities[:, 1]))
    assert result["top_answer_pct"] == 50


def test_mrpcs_majority_baseline_is_the_known_one() -> None:
    labels = np.array([1] * 279 + [0] * 129)
    baseline = accuracy.constant_baseline(("f1", "accuracy"), labels, 2)
    assert baseline["majority_f1"] == pytest.approx(0.8122, abs=5e-5)
    assert baseline["majority_accuracy"] == pytest.approx(0.6838, abs=5e-5)


def test_how_often_one_answer_is_given_is_counted_of_classes_and_of_scores() -> None:
    logits = np.array([[0.0, 1.0]] * 96 + [[1.0, 0.0]] * 4)
    result = accuracy.score(("accuracy",), np.array([0, 1] * 50), logits)
    assert result["top_answer_pct"] == 96
    scores = np.array([[2.501]] * 97 + [[0.5], [1.0], [4.0]])
    result = accuracy.score(("pearson",), np.linspace(0, 5, 100), scores)
    assert (result["top_answer_pct"], result["top_label_pct"]) == (97, 1)


@pytest.mark.parametrize(
    ("top_answer_pct", "top_label_pct", "collapsed"),
    [
        (100, 68.4, True),
        (95.4, 68.4, True),  # MRPC's validation split
        (95.2, 68.4, False),
        (98.2, 98, False),  # spam, and a good model of it
        (99.8, 98, True),
        (100, 100, False),  # one label, one answer
    ],
)
def test_collapse_is_one_answer_far_more_often_than_the_labels_have_it(
    top_answer_pct: float, top_label_pct: float, collapsed: bool
) -> None:
    assert accuracy.has_collapsed(top_answer_pct, top_label_pct, 15) is collapsed
    assert not accuracy.has_collapsed(top_answer_pct, top_label_pct, 0)


def test_distances_are_relative_to_the_reference() -> None:
    reference = np.array([[1.0, -1.0], [2.0, -2.0]])
    assert accuracy.relative_distance(reference * 1.1, reference) == pytest.approx(0.1)
    assert accuracy.relative_distance(reference * 0, reference * 0) == 0
    assert accuracy.relative_distance(reference, reference * 0) == np.inf
    assert np.isnan(accuracy.relative_distance(reference * np.nan, reference))


def test_a_regression_is_scored_by_correlations_and_squared_error() -> None:
    random = np.random.default_rng(0)
    labels = random.uniform(0, 5, 50)
    logits = (labels + random.normal(0, 1, 50))[:, None].astype(np.float32)
    result = accuracy.score(("pearson", "spearman"), labels, logits)
    assert result["pearson"] == pytest.approx(np.corrcoef(labels, logits[:, 0])[0, 1])
    assert result["spearman"] == pytest.approx(stats.spearmanr(labels, logits[:, 0])[0])
    assert result["loss"] == pytest.approx(np.mean((labels - logits[:, 0]) ** 2))
    assert (result["majority_pearson"], result["majority_spearman"]) == (0, 0)
    assert not any(key.startswith("true_") for key in result)


def test_a_constant_answer_has_no_correlation_and_no_warning() -> None:
    result = accuracy.score(("pearson", "spearman"), np.arange(9.0), np.ones((9, 1)))
    assert (result["pearson"], result["spearman"]) == (0, 0)


def test_scores_are_the_same_answer_within_a_fiftieth_of_the_labels_range() -> None:
    labels, first = np.array([0.0, 5.0, 2.0]), np.array([1.0, 2.0, 3.0])
    found = accuracy.same_answers(first, first + np.array([0.09, 0.11, -0.2]), labels)
    assert found.tolist() == [True, False, False]


def test_per_class_report_is_scikit_learns() -> None:
    random = np.random.default_rng(1)
    labels = random.integers(3, size=90)
    given = np.where(random.random(90) < 0.3, random.integers(3, size=90), labels)
    found = accuracy.per_class(("a", "b", "c"), labels, given)
    theirs = sklearn_metrics.classification_report(
        labels, given, target_names=["a", "b", "c"], output_dict=True
    )
    for row in found.to_dict("records"):
        for ours, name in (
            ("precision",) * 2,
            ("recall",) * 2,
            ("f1", "f1-score"),
            ("support",) * 2,
        ):
            assert row[ours] == pytest.approx(theirs[row["class"]][name])


def test_percentiles_are_samples_and_need_enough_of_them() -> None:
    values = np.arange(1.0, 101.0)
    assert (percentile(values, 0.5), percentile(values, 0.9)) == (50, 90)
    assert "p90_ms" not in summarize([np.ones(63)], batch_size=1)
    assert "p90_ms" in summarize([np.ones(64)], batch_size=1)
    assert "p99_ms" not in summarize([np.ones(661)], batch_size=1)
    assert "p99_ms" in summarize([np.ones(662)], batch_size=1)


def test_throughput_counts_texts_and_spread_compares_rounds() -> None:
    result = summarize([np.full(50, 10.0), np.full(50, 11.0)], batch_size=8)
    assert result["throughput_per_s"] == pytest.approx(8 * 1000 / 10.5)
    assert result["p50_spread_pct"] == pytest.approx(10)
    rounds = (result["round_1_mean_ms"], result["round_2_mean_ms"], result["mean_ms"])
    assert rounds == pytest.approx((10, 11, 10.5))
