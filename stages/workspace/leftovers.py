"""Outputs that no stage makes any more: of a variant or seed that was taken out of params.yaml.

DVC forgets such files and leaves them lying, in folders on which later stages depend: no other
clone would have the same folder. Whatever params.yaml lists is never touched; DVC's cache keeps
the rest.
"""

import shutil
from pathlib import Path

from stages.plumbing import paths
from stages.settings.params import Params


def leftovers(task: str, params: Params) -> list[Path]:
    """Files and folders of a listed task that belong to no listed seed or variant."""
    seeds = [f"seed_{seed}" for seed in params.finetune.seeds]
    variants = list(params.quantize)
    models, metrics, reports = (
        root / task for root in (paths.MODELS, paths.METRICS, paths.REPORTS)
    )
    by_seed = [models, metrics / "accuracy", reports / "predictions", reports / "training"]
    left = [path for folder in by_seed for path in unlisted(folder, seeds)]
    left += unlisted(metrics / "finetune", seeds)
    for seed in seeds:
        left += unlisted(models / seed, ["finetuned", *variants])
        for folder in (metrics / "accuracy", reports / "predictions"):
            left += unlisted(folder / seed, variants)
    return left


def unlisted(folder: Path, names: list[str]) -> list[Path]:
    """What lies in `folder` under another name; DVC's .gitignore files are no outputs."""
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if p.stem not in names and p.name != ".gitignore"]


def remove_leftovers(task: str, params: Params) -> None:
    for path in leftovers(task, params):
        print(f"{path} belongs to nothing that params.yaml lists: removed")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
