"""Where everything lies. Mirrors dvc.yaml."""

from pathlib import Path

DATA, MODELS, METRICS, REPORTS, EXPORTS = map(
    Path, ("data", "models", "metrics", "reports", "exports")
)
ENVIRONMENT = METRICS / "environment.json"
ARITHMETIC = METRICS / "arithmetic.json"


def split(task: str, name: str) -> Path:
    return DATA / task / f"{name}.parquet"


def checkpoint(task: str) -> Path:
    return MODELS / task / "finetuned"


def artifact(task: str, variant: str) -> Path:
    return MODELS / task / variant


def dataset(task: str) -> Path:
    return METRICS / task / "dataset.json"


def metric(task: str, kind: str, variant: str) -> Path:
    """`kind` is accuracy, size, latency or compare."""
    return METRICS / task / kind / f"{variant}.json"


def predictions(task: str, variant: str) -> Path:
    return REPORTS / task / "predictions" / f"{variant}.csv"
