"""One row of the comparison: everything that is known of one variant, flattened in one place.

metrics/<task>/compare/<variant>.json is a flat row, because `dvc metrics show` makes a column of
each key. Keys of validation, which decides, have no prefix; those of another split begin with its
name.
"""

import math
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from stages.dataset.task import prefix_of
from stages.measure.metrics import METRICS
from stages.measure.selection import Contender
from stages.measure.verdict import UNDECIDED
from stages.plumbing.json_file import read_json

Flat = dict[str, Any]
MAJORITY, MORE_TEXTS = "majority_", "more_texts_to_decide"
TESTS = ("mcnemar_p", "wilcoxon_p")


@dataclass(frozen=True)
class Drop:
    """fp32's metric minus the variant's in points, and the ends of its interval."""

    points: float
    low: float
    high: float


@dataclass(frozen=True)
class OnSplit:
    """One seed's model on one split.

    Attributes:
        scores: metric -> value.
        low, high: interval of the first metric.
        drops: metric -> drop against fp32 on the same texts.
        p: McNemar's, of a regression Wilcoxon's.
    """

    scores: dict[str, float]
    low: float
    high: float
    drops: dict[str, Drop]
    agreement_pct: float
    disagreements: int
    p: float
    n: int


@dataclass(frozen=True)
class OverSeeds:
    """The first metric on one split: mean, lowest and highest of the seeds, and the drops."""

    mean: float
    min: float
    max: float
    drop: Drop
    drop_median_points: float
    drop_worst_points: float


@dataclass(frozen=True)
class Cost:
    """Latency at the first batch size and thread count of params.yaml, and size.

    Attributes:
        peak_memory_mb: see `TimedProcess`.
        cost_per_million: what a million texts cost at `throughput_per_s`, see
            `compare.price_per_core_hour`; both are NaN in results that are older than they.
        classes_were: see `Recipe`; in JSON, since a class may hold any separator.
    """

    mean_ms: float
    speedup_mean: float
    p50_ms: float
    speedup_p50: float
    p90_ms: float
    speedup_p90: float
    throughput_per_s: float
    throughput_ratio: float
    size_mb: float
    size_ratio: float
    quantized_ops: int
    weights: str
    max_length: int
    instruction_set: str
    contended: int
    peak_memory_mb: float = math.nan
    cost_per_million: float = math.nan
    classes_were: str = ""


@dataclass(frozen=True)
class Row:
    """Attributes:
    metrics: of the task; the first is the one that decides.
    test: that `p` of a split is of: `mcnemar_p`, of a regression `wilcoxon_p`.
    seed: the first one, whose model is timed and ships.
    splits: split -> that model's results; over_seeds: split -> those of all seeds.
    majority: what always giving the same answer scores on validation.
    more_texts: about so many more would decide; 0 where these do, None where no number in sight.
    """

    metrics: tuple[str, ...]
    test: str
    seed: int
    seeds: int
    splits: dict[str, OnSplit]
    over_seeds: dict[str, OverSeeds]
    majority: float
    verdict: str
    cost: Cost
    more_texts: int | None = 0
    on_front: bool = False

    @property
    def headline(self) -> str:
        return self.metrics[0]

    @property
    def contender(self) -> Contender:
        """What is compared where it is decided what ships: validation, over all seeds."""
        decisive, cost = self.over_seeds["validation"], self.cost
        return Contender(
            score=decisive.mean,
            drop_high=decisive.drop.high,
            verdict=self.verdict,
            p90_ms=cost.p90_ms,
            speedup_p90=cost.speedup_p90,
            size_mb=cost.size_mb,
        )

    def flat(self) -> Flat:
        values: Flat = {"seed": self.seed}
        for split, one in self.splits.items():
            values |= self.flat_split(one, prefix_of(split))
        values |= {f"{MAJORITY}{self.headline}": self.majority, "seeds": self.seeds}
        for split, several in self.over_seeds.items():
            values |= self.flat_seeds(several, prefix_of(split))
            if split == "validation":
                values["verdict"] = self.verdict
        if self.more_texts:
            values[MORE_TEXTS] = self.more_texts
        cost = {key: value for key, value in asdict(self.cost).items() if value != ""}
        return values | cost | {"on_front": int(self.on_front)}

    def flat_split(self, one: OnSplit, prefix: str) -> Flat:
        headline = f"{prefix}{self.headline}"
        values: Flat = {f"{prefix}{metric}": score for metric, score in one.scores.items()}
        values |= {f"{headline}_low": one.low, f"{headline}_high": one.high}
        for metric, drop in one.drops.items():
            values |= {f"{prefix}{metric}_drop_{end}": value for end, value in asdict(drop).items()}
        return values | {
            f"{prefix}agreement_pct": one.agreement_pct,
            f"{prefix}disagreements": one.disagreements,
            f"{prefix}{self.test}": one.p,
            f"{prefix}n": one.n,
        }

    def flat_seeds(self, several: OverSeeds, prefix: str) -> Flat:
        headline = f"{prefix}{self.headline}"
        return {
            f"{headline}_mean": several.mean,
            f"{headline}_min": several.min,
            f"{headline}_max": several.max,
            f"{headline}_drop_mean_points": several.drop.points,
            f"{headline}_drop_mean_low": several.drop.low,
            f"{headline}_drop_mean_high": several.drop.high,
            f"{headline}_drop_median_points": several.drop_median_points,
            f"{headline}_drop_worst_points": several.drop_worst_points,
        }

    @classmethod
    def read(cls, file: Path) -> Self:
        """The row that was flattened into `file`."""
        values = read_json(file)
        majority = next((key for key in values if key.startswith(MAJORITY)), MAJORITY)
        headline = majority.removeprefix(MAJORITY)
        others = [metric for metric in METRICS if f"{metric}_drop_points" in values]
        metrics = tuple(dict.fromkeys([headline, *others]))
        ending = f"{headline}_drop_mean_points"
        prefixes = [key.removesuffix(ending) for key in values if key.endswith(ending)]
        splits = {prefix.removesuffix("_") or "validation": prefix for prefix in prefixes}
        test = next((name for name in TESTS if name in values), TESTS[0])
        return cls(
            metrics=metrics,
            test=test,
            seed=values["seed"],
            seeds=values["seeds"],
            splits={name: split_from(values, metrics, test, p) for name, p in splits.items()},
            over_seeds={name: seeds_from(values, f"{p}{headline}") for name, p in splits.items()},
            majority=values[majority],
            verdict=values["verdict"],
            more_texts=values.get(MORE_TEXTS, None if values["verdict"] == UNDECIDED else 0),
            cost=Cost(
                **{
                    each.name: values[each.name]
                    for each in fields(Cost)
                    if each.name in values or each.default is MISSING
                }
            ),
            on_front=bool(values["on_front"]),
        )


def split_from(values: Flat, metrics: tuple[str, ...], test: str, prefix: str) -> OnSplit:
    headline = f"{prefix}{metrics[0]}"
    return OnSplit(
        scores={metric: values[f"{prefix}{metric}"] for metric in metrics},
        low=values[f"{headline}_low"],
        high=values[f"{headline}_high"],
        drops={metric: drop_from(values, f"{prefix}{metric}_drop") for metric in metrics},
        agreement_pct=values[f"{prefix}agreement_pct"],
        disagreements=values[f"{prefix}disagreements"],
        p=values[f"{prefix}{test}"],
        n=values[f"{prefix}n"],
    )


def seeds_from(values: Flat, headline: str) -> OverSeeds:
    return OverSeeds(
        mean=values[f"{headline}_mean"],
        min=values[f"{headline}_min"],
        max=values[f"{headline}_max"],
        drop=drop_from(values, f"{headline}_drop_mean"),
        drop_median_points=values[f"{headline}_drop_median_points"],
        drop_worst_points=values[f"{headline}_drop_worst_points"],
    )


def drop_from(values: Flat, key: str) -> Drop:
    return Drop(values[f"{key}_points"], values[f"{key}_low"], values[f"{key}_high"])
