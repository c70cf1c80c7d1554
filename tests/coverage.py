"""How often the intervals hold what they are of, by simulation.

    python -m tests.coverage [DATASETS] [METRIC...]

Many small data sets are drawn from populations of which everything is known; the share of them
whose interval holds the population's own drop, or score, is the coverage. Writes
docs/evidence/coverage.json, from which the table in docs/reading_a_report.md is made (make tables);
of metrics that are not named it keeps what stands there.
"""

import itertools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from stages.measure.metrics import METRICS, REGRESSION_METRICS
from stages.measure.statistics import Interval, metric_interval, paired_drop_interval
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

RESULTS = Path(__file__).parents[1] / "docs/evidence/coverage.json"
TEXTS = (50, 200, 408, 2000)
FLIPS_PCT = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0)
HARMFUL = (0.5, 1.0)  # of the flips that have a right and a wrong answer
CONFIDENCE, RESAMPLES, DATASETS = 0.95, 1000, 1000
# Of a regression, where each resample sorts all rows.
FEWER = 10
RIGHT = 0.9  # of the reference's answers
SHARES = {2: (1 / 3, 2 / 3), 5: (0.4, 0.3, 0.2, 0.07, 0.03)}
CLASSES = {"f1": 2, "accuracy": 2, "matthews": 2, "weighted_f1": 5}
# Of a regression: scores 0 to 5, how far the reference misses them, how far rounding moves an
# answer and how far it moves a text that is counted as a flip.
MISSES, ROUNDING, FAR = 0.8, 0.03, 1.0
POPULATION = 1_000_000


@dataclass(frozen=True)
class Case:
    metric: str
    texts: int
    flips_pct: float
    harmful: float


def cells(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """(label, reference's answer, variant's answer) and their probabilities."""
    classes = CLASSES[case.metric]
    shares, flips = SHARES[classes], case.flips_pct / 100
    found: dict[tuple[int, int, int], float] = {}

    def add(label: int, before: int, after: int, probability: float) -> None:
        key = (label, before, after)
        found[key] = found.get(key, 0) + probability

    for label in range(classes):
        others = [each for each in range(classes) if each != label]
        harm, help_ = flips * case.harmful, flips * (1 - case.harmful)
        add(label, label, label, shares[label] * (RIGHT - harm))
        for other in others:
            part = shares[label] / len(others)
            add(label, other, other, part * (1 - RIGHT - help_))
            add(label, label, other, part * harm)
            add(label, other, label, part * help_)
    kept = {key: value for key, value in found.items() if value > 0}
    return np.array(list(kept)), np.array(list(kept.values()))


def classified(case: Case, random: np.random.Generator) -> np.ndarray:
    """Rows (texts, 3)."""
    kinds, probabilities = cells(case)
    return np.repeat(kinds, random.multinomial(case.texts, probabilities), axis=0)


def scored(case: Case, texts: int, random: np.random.Generator) -> np.ndarray:
    """Rows (texts, 3) of a regression."""
    label = random.integers(0, 26, texts) / 5
    before = label + random.normal(0, MISSES, texts)
    after = before + random.normal(0, ROUNDING, texts)
    flips = random.random(texts) < case.flips_pct / 100
    away = np.where(random.random(texts) < case.harmful, np.sign(before - label), 1)
    return np.stack([label, before, after + flips * FAR * away], 1)


def truth(case: Case) -> tuple[float, float]:
    """The population's drop in points, and the variant's score."""
    if case.metric in REGRESSION_METRICS:
        rows = scored(case, POPULATION, np.random.default_rng(1))
        before, after = (METRICS[case.metric].score(rows[:, 0], rows[:, i]) for i in (1, 2))
        return 100 * (before - after), after
    kinds, probabilities = cells(case)
    classes = CLASSES[case.metric]
    scores = []
    for model in (1, 2):
        table = np.zeros((classes, classes))
        np.add.at(table, (kinds[:, 0], kinds[:, model]), probabilities)
        scores.append(float(METRICS[case.metric].resampled(table)))
    return 100 * (scores[0] - scores[1]), scores[1]


def holds(interval: Interval, value: float) -> bool:
    slack = 1e-9  # where both are 0
    return interval.low - slack <= value <= interval.high + slack


def coverage(case: Case, datasets: int) -> dict[str, Any]:
    drop, score = truth(case)
    regression = case.metric in REGRESSION_METRICS
    random, drops, scores = np.random.default_rng(0), [], []
    widths = []
    for _ in range(datasets // FEWER if regression else datasets):
        rows = scored(case, case.texts, random) if regression else classified(case, random)
        label, before, after = rows.T
        found = paired_drop_interval(case.metric, label, [before], [after], RESAMPLES, CONFIDENCE)
        drops.append(holds(found, drop))
        widths.append(found.high - found.low)
        own = metric_interval(case.metric, label, after, RESAMPLES, CONFIDENCE)
        scores.append(holds(own, score))
    return vars(case) | {
        "datasets": len(drops),
        "drop_covered_pct": 100 * float(np.mean(drops)),
        "score_covered_pct": 100 * float(np.mean(scores)),
        "mean_width_points": float(np.mean(widths)),
    }


def cases(metric: str) -> list[Case]:
    found = []
    for texts, flips, harmful in itertools.product(TEXTS, FLIPS_PCT, HARMFUL):
        if flips == 0 and harmful != HARMFUL[0]:
            continue
        if metric == "spearman" and texts > 408:
            continue  # hours
        found.append(Case(metric, texts, flips, harmful))
    return found


def main(datasets: str = str(DATASETS), *metrics: str) -> None:
    os.chdir(RESULTS.parents[2])
    known = (*CLASSES, *REGRESSION_METRICS)
    for metric in metrics or known:
        found = [coverage(case, int(datasets)) for case in tqdm(cases(metric), metric)]
        before = read_json(RESULTS)["cases"] if RESULTS.exists() else []
        results = [*found, *(case for case in before if case["metric"] != metric)]
        results.sort(key=lambda case: known.index(case["metric"]))
        # Of what is done so far: the correlations take most of the time.
        write_json(RESULTS, {"confidence": CONFIDENCE, "resamples": RESAMPLES, "cases": results})


if __name__ == "__main__":
    main(*sys.argv[1:])
