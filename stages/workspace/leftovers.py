"""Outputs that no stage makes any more: of a variant or seed that was taken out of params.yaml.

And what a killed stage was writing, where it will never run again, or not soon.

DVC forgets such files and leaves them lying, in folders on which later stages depend: no other
clone would have the same folder. Only what a stage of this project wrote is removed, by its name
and manifest, and nothing that params.yaml lists; DVC's cache keeps what was committed to it.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from stages.model.artifact import RECIPE
from stages.plumbing import paths
from stages.plumbing.files import PARTIAL, target_of, tidy
from stages.plumbing.lock import ENDING, is_locked, locked
from stages.plumbing.manifest import MANIFEST
from stages.settings.params import Params

TRAINED = "finetuned"


def leftovers(task: str, params: Params) -> list[Path]:
    """Files and folders of a listed task that belong to no listed seed or variant."""
    seeds, variants = [f"seed_{seed}" for seed in params.finetune.seeds], list(params.quantize)
    models, metrics, reports = (
        root / task for root in (paths.MODELS, paths.METRICS, paths.REPORTS)
    )
    left = []
    for folder in seed_folders(models):
        listed = [TRAINED, *variants] if folder.name in seeds else []
        left += [path for path in folder.iterdir() if is_ours(path) and path.name not in listed]
    for root, ending in ((metrics / "accuracy", "json"), (reports / "predictions", "csv")):
        for folder in seed_folders(root):
            listed = variants if folder.name in seeds else []
            left += [path for path in folder.glob(f"*.{ending}") if path.stem not in listed]
    left += [path for path in metrics.glob("finetune/seed_*.json") if path.stem not in seeds]
    left += [path for path in seed_folders(reports / "training") if path.name not in seeds]
    return sorted(path for path in left if not holds_a_model(path, params))


def seed_folders(folder: Path) -> list[Path]:
    return [path for path in folder.glob("seed_*") if re.fullmatch(r"seed_\d+", path.name)]


def is_ours(path: Path) -> bool:
    """Whether a stage made this folder of a model, and is not just about to."""
    made = (path / MANIFEST).exists() or (path.name == TRAINED and (path / RECIPE).exists())
    return made and path.suffix != PARTIAL


def holds_a_model(path: Path, params: Params) -> bool:
    """Whether a training starts from something in there."""
    trainings = [params.training(task) for task in params.tasks]
    named = [Path(each.checkpoint or each.model).resolve() for each in trainings]
    return any(path.resolve() in (model, *model.parents) for model in named)


def half_written(task: str) -> Iterator[Path]:
    """Targets that a process was writing; whether it still is, their locks know."""
    for root in (paths.DATA, paths.MODELS, paths.METRICS, paths.REPORTS, paths.EXPORTS):
        for place, folders, files in os.walk(root):
            found = [Path(place, name) for name in (*folders, *files) if name.endswith(PARTIAL)]
            folders[:] = [name for name in folders if not name.endswith(PARTIAL)]
            if Path(place) == root:
                folders[:] = [name for name in folders if name == task]
                found = [path for path in found if path.name.startswith(f"{task}.")]
            yield from {target for path in found if (target := target_of(path))}
            for path in found:
                if path.name.endswith(ENDING):  # of a process that was killed, or at work
                    is_locked(path.with_name(path.name.removesuffix(ENDING)))


def remove_leftovers(task: str, params: Params) -> None:
    for target in half_written(task):
        if not is_locked(target):
            print(f"{target}: what a killed stage left of it is cleared away")
            with locked(target):
                tidy(target)
    for path in leftovers(task, params):
        print(f"{path} belongs to nothing that params.yaml lists: removed")
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        if {other.name for other in path.parent.iterdir()} <= {".gitignore"}:  # which is DVC's
            shutil.rmtree(path.parent)
