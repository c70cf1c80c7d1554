"""Where everything lies, mirroring dvc.yaml; and what a path of the user's means."""

import os
from pathlib import Path

DATA, MODELS, METRICS, REPORTS, EXPORTS = map(
    Path, ("data", "models", "metrics", "reports", "exports")
)
ENVIRONMENT = METRICS / "environment.json"
ARITHMETIC = METRICS / "arithmetic.json"
CODE = REPORTS / "code"
OUTSIDE = METRICS / "outside"
# What a variant learned from training rows, while it is built.
SCRATCH = Path(".building")


def of_user(named: str) -> Path:
    """A path from params.yaml or the environment: ~ and $VARIABLES stand for what they hold.

    A variable that is not set stays as it stands, with its $.
    """
    return Path(os.path.expandvars(named)).expanduser()


def split(task: str, name: str) -> Path:
    return DATA / task / f"{name}.parquet"


def checkpoint(task: str, seed: int | str) -> Path:
    return MODELS / task / f"seed_{seed}" / "finetuned"


def artifact(task: str, seed: int | str, variant: str) -> Path:
    return MODELS / task / f"seed_{seed}" / variant


def training(task: str, seed: int | str) -> Path:
    return REPORTS / task / "training" / f"seed_{seed}"


def dataset(task: str) -> Path:
    return METRICS / task / "dataset.json"


def metric(task: str, kind: str, name: str) -> Path:
    """`kind` is finetune (of a seed), size, latency or compare (of a variant)."""
    return METRICS / task / kind / f"{name}.json"


def accuracy(task: str, seed: int | str, variant: str) -> Path:
    return METRICS / task / "accuracy" / f"seed_{seed}" / f"{variant}.json"


def predictions(task: str, seed: int | str, variant: str) -> Path:
    return REPORTS / task / "predictions" / f"seed_{seed}" / f"{variant}.csv"
