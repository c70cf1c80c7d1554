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


# What lies in metrics/<task>/ and reports/<task>/ -> the stage that writes it.
OF_TASK = {
    "dataset.json": "download_glue",
    "finetune": "finetune",
    "training": "finetune",
    "size": "size_report",
    "size.csv": "size_report",
    "sensitivity.csv": "size_report",
    "accuracy": "evaluate",
    "predictions": "evaluate",
    "latency": "latency",
    "latency.csv": "latency",
    "compare": "compare",
    "compare.md": "compare",
    "compare.csv": "compare",
    "per_class.csv": "compare",
    "index.html": "compare",
    "export.json": "export",
    "ships.json": "export",
}


def stage_of(path: Path) -> str:
    """The stage that writes `path`, or what lies in it; empty where none does."""
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    if path.is_absolute() or len(path.parts) < 2:
        return ""
    parts = [part.removesuffix(".partial") for part in path.parts]
    if path.is_relative_to(CODE):
        return "code"
    if path in (ENVIRONMENT, ARITHMETIC) or path.is_relative_to(OUTSIDE):
        return "environment"
    if parts[0] == REPORTS.name and path.stem == "summary":
        return "summary"
    if parts[0] in (METRICS.name, REPORTS.name):
        return OF_TASK.get(parts[2], "") if len(parts) > 2 else ""
    if parts[0] == MODELS.name:
        return "finetune" if "finetuned" in parts else "quantize"
    return {DATA.name: "download_glue", EXPORTS.name: "export"}.get(parts[0], "")
