"""A variant against fp32 on the same texts: each seed's results, and its row of the comparison."""

from collections.abc import Mapping

import numpy as np

from stages import variants
from stages.dataset.task import Task
from stages.measure import statistics
from stages.measure.accuracy import same_answers
from stages.measure.timing import cost_per_million, groups
from stages.measure.verdict import UNDECIDED, verdict
from stages.plumbing import paths
from stages.plumbing.json_file import read_json
from stages.reporting.predictions import Answers, Predictions
from stages.reporting.row import Cost, Drop, OnSplit, OverSeeds, Row
from stages.settings.params import Compare, Latency

FEW_SAMPLES = 2000  # for an estimate that is rounded
# metrics/<task>/accuracy/<seed>/<variant>.json by (seed, variant): split -> metric -> score.
Scores = Mapping[tuple[int, str], dict]


def on_splits(
    task: Task, seed: int, name: str, scores: Scores, predictions: Predictions, settings: Compare
) -> dict[str, OnSplit]:
    """One seed's model on each split; on those but validation nothing was chosen."""
    bootstrap = (settings.bootstrap_samples, settings.confidence)
    results = {}
    for split in task.scored:
        answers = predictions.answers(seed, name, split)
        before, after = scores[seed, variants.REFERENCE][split], scores[seed, name][split]
        own = statistics.metric_interval(
            task.metrics[0], answers.labels, answers.variant, *bootstrap
        )
        drops = {}
        for metric in task.metrics:
            points = 100 * (before[metric] - after[metric])
            drops[metric] = drop_of(name, metric, points, [answers], settings)
        same = same_answers(answers.variant, answers.fp32, answers.labels)
        results[split] = OnSplit(
            scores={metric: after[metric] for metric in task.metrics},
            low=own.low,
            high=own.high,
            drops=drops,
            agreement_pct=100 * float(same.mean()),
            disagreements=int((~same).sum()),
            p=p_value(task, answers),
            n=len(answers.labels),
        )
    return results


def drop_of(
    name: str, metric: str, points: float, answers: list[Answers], settings: Compare
) -> Drop:
    """With its interval, of one seed or of several.

    Args:
        points: the drop itself, or the mean of several.
        answers: of each seed, on the same texts.
    """
    if name == variants.REFERENCE:  # which is not another model that happens to answer alike
        return Drop(0.0, 0.0, 0.0)
    spread = statistics.paired_drop_interval(
        metric,
        answers[0].labels,
        [each.fp32 for each in answers],
        [each.variant for each in answers],
        settings.bootstrap_samples,
        settings.confidence,
    )
    return Drop(points, spread.low, spread.high)


def more_texts(
    name: str, metric: str, drop: Drop, answers: list[Answers], settings: Compare
) -> int | None:
    """How many more would decide; 0 where these do, None where very many would not."""
    budget = settings.max_drop_points
    decided = verdict(statistics.Interval(drop.low, drop.high), budget)
    if name == variants.REFERENCE or decided != UNDECIDED:
        return 0
    return statistics.texts_to_decide(
        metric,
        answers[0].labels,
        [each.fp32 for each in answers],
        [each.variant for each in answers],
        min(FEW_SAMPLES, settings.bootstrap_samples),
        settings.confidence,
        budget,
    )


def p_value(task: Task, answers: Answers) -> float:
    """McNemar's, of a regression Wilcoxon's."""
    labels, fp32, ours = answers
    if task.regression:
        return statistics.wilcoxon(np.abs(fp32 - labels), np.abs(ours - labels))
    return statistics.mcnemar(fp32 == labels, ours == labels)


def over_seeds(
    task: Task,
    name: str,
    split: str,
    by_seed: Mapping[int, Mapping[str, OnSplit]],
    predictions: Predictions,
    settings: Compare,
) -> OverSeeds:
    headline = task.metrics[0]
    answers = [predictions.answers(seed, name, split) for seed in by_seed]
    scores = [results[split].scores[headline] for results in by_seed.values()]
    drops = [results[split].drops[headline].points for results in by_seed.values()]
    return OverSeeds(
        mean=float(np.mean(scores)),
        min=min(scores),
        max=max(scores),
        drop=drop_of(name, headline, float(np.mean(drops)), answers, settings),
        drop_median_points=float(np.median(drops)),
        drop_worst_points=max(drops),
    )


def row_of(
    task: Task,
    name: str,
    by_seed: Mapping[int, Mapping[str, OnSplit]],
    scores: Scores,
    predictions: Predictions,
    settings: Compare,
    timing: Latency,
) -> Row:
    """The first seed's results, whose model ships, and over all seeds mean, median and worst.

    Validation decides. The verdict is about the mean drop: what a seed adds by chance to one model
    it also takes from another.
    """
    seed = next(iter(by_seed))
    spreads = {
        split: over_seeds(task, name, split, by_seed, predictions, settings)
        for split in task.scored
    }
    drop = spreads["validation"].drop
    answers = [predictions.answers(each, name, "validation") for each in by_seed]
    decided = verdict(statistics.Interval(drop.low, drop.high), settings.max_drop_points)
    return Row(
        metrics=task.metrics,
        test="wilcoxon_p" if task.regression else "mcnemar_p",
        seed=seed,
        seeds=len(by_seed),
        splits=dict(by_seed[seed]),
        over_seeds=spreads,
        majority=scores[seed, name]["validation"][f"majority_{task.metrics[0]}"],
        verdict="reference" if name == variants.REFERENCE else decided,
        more_texts=more_texts(name, task.metrics[0], drop, answers, settings),
        cost=cost_of(task.name, name, timing, settings.price_per_core_hour),
    )


def cost_of(task: str, name: str, timing: Latency, price_per_core_hour: float) -> Cost:
    """Of the first group that was timed; throughput and what hangs on it of the last."""
    size = read_json(paths.metric(task, "size", name))
    ours = read_json(paths.metric(task, "latency", name))
    fp32 = read_json(paths.metric(task, "latency", variants.REFERENCE))
    timed = groups(timing.batch_sizes, timing.threads)
    first, last = timed[0], timed[-1]
    latencies = {}
    for key in ("mean", "p50", "p90"):
        latencies[f"{key}_ms"] = ours[first][f"{key}_ms"]
        latencies[f"speedup_{key}"] = fp32[first][f"{key}_ms"] / ours[first][f"{key}_ms"]
    return Cost(
        **latencies,
        throughput_per_s=ours[last]["throughput_per_s"],
        throughput_ratio=ours[last]["throughput_per_s"] / fp32[last]["throughput_per_s"],
        size_mb=size["size_mb"],
        size_ratio=size["size_ratio"],
        peak_memory_mb=ours["peak_memory_mb"],
        cost_per_million=cost_per_million(
            ours[last]["throughput_per_s"],
            ours["cores"] if timing.threads[-1] == "all" else int(timing.threads[-1]),
            price_per_core_hour,
        ),
        quantized_ops=size["quantized_ops"],
        weights=size["weights"],
        max_length=size["max_length"],
        classes_were=size["classes_were"],
        instruction_set=ours["instruction_set"],
        contended=ours["contended"],
    )
