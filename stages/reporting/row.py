"""One row of the comparison: everything that is known of one variant, flattened in one place.

metrics/<task>/compare/<variant>.json is a flat row, because `dvc metrics show` makes a column of
each key. Keys of validation, which decides, have no prefix; those of another split begin with its
name.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from stages.dataset.task import Task, prefix_of
from stages.measure.selection import Contender
from stages.plumbing.files import read_json

Flat = dict[str, Any]


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
    """Latency at the first batch size and thread count of params.yaml, and size."""

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


@dataclass(frozen=True)
class Row:
    """Attributes:
    seed: the first one, whose model is timed and ships.
    splits: split -> that model's results; over_seeds: split -> those of all seeds.
    majority: what always giving the same answer scores on validation.
    """

    seed: int
    seeds: int
    splits: dict[str, OnSplit]
    over_seeds: dict[str, OverSeeds]
    majority: float
    verdict: str
    cost: Cost
    on_front: bool = False

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

    def flat(self, task: Task) -> Flat:
        values: Flat = {"seed": self.seed}
        for split, one in self.splits.items():
            values |= flat_split(one, task, prefix_of(split))
        values |= {f"majority_{task.metrics[0]}": self.majority, "seeds": self.seeds}
        for split, several in self.over_seeds.items():
            values |= flat_seeds(several, task, prefix_of(split))
            if split == "validation":
                values["verdict"] = self.verdict
        return values | asdict(self.cost) | {"on_front": int(self.on_front)}

    @classmethod
    def read(cls, file: Path, task: Task) -> Self:
        """The row that was flattened into `file`."""
        values = read_json(file)
        return cls(
            seed=values["seed"],
            seeds=values["seeds"],
            splits={name: split_from(values, task, prefix_of(name)) for name in task.scored},
            over_seeds={name: seeds_from(values, task, prefix_of(name)) for name in task.scored},
            majority=values[f"majority_{task.metrics[0]}"],
            verdict=values["verdict"],
            cost=Cost(**{field.name: values[field.name] for field in fields(Cost)}),
            on_front=bool(values["on_front"]),
        )


def p_name(task: Task) -> str:
    return "wilcoxon_p" if task.regression else "mcnemar_p"


def flat_split(one: OnSplit, task: Task, prefix: str) -> Flat:
    headline = f"{prefix}{task.metrics[0]}"
    values: Flat = {f"{prefix}{metric}": score for metric, score in one.scores.items()}
    values |= {f"{headline}_low": one.low, f"{headline}_high": one.high}
    for metric, drop in one.drops.items():
        values |= {f"{prefix}{metric}_drop_{end}": value for end, value in asdict(drop).items()}
    return values | {
        f"{prefix}agreement_pct": one.agreement_pct,
        f"{prefix}disagreements": one.disagreements,
        f"{prefix}{p_name(task)}": one.p,
        f"{prefix}n": one.n,
    }


def split_from(values: Flat, task: Task, prefix: str) -> OnSplit:
    headline = f"{prefix}{task.metrics[0]}"
    return OnSplit(
        scores={metric: values[f"{prefix}{metric}"] for metric in task.metrics},
        low=values[f"{headline}_low"],
        high=values[f"{headline}_high"],
        drops={metric: drop_from(values, f"{prefix}{metric}_drop") for metric in task.metrics},
        agreement_pct=values[f"{prefix}agreement_pct"],
        disagreements=values[f"{prefix}disagreements"],
        p=values[f"{prefix}{p_name(task)}"],
        n=values[f"{prefix}n"],
    )


def flat_seeds(several: OverSeeds, task: Task, prefix: str) -> Flat:
    headline = f"{prefix}{task.metrics[0]}"
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


def seeds_from(values: Flat, task: Task, prefix: str) -> OverSeeds:
    headline = f"{prefix}{task.metrics[0]}"
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
