"""What DVC cannot see from here: the user's own data files, and a model in a local folder."""

from pathlib import Path
from typing import Any

from stages.dataset.task import base_of
from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.plumbing.manifest import checksums
from stages.plumbing.paths import of_user
from stages.plumbing.private import cleaned, shortened
from stages.settings.params import Params


def outside_files(task: str, params: Params, known: dict[str, Any]) -> dict[str, Any]:
    """Checksums of the files outside of this repository that a task needs; most need none.

    Where they are not at hand, as in a colleague's clone, what is `known` of them stands, so that
    nothing is rebuilt.

    Args:
        known: what this gave the last time, or nothing.

    Returns:
        `settings` (the task's entry of `csv`), `data` and `model`: file -> sha256.

    Raises:
        UserError: a file is missing that never was here.
    """
    parts: dict[str, Any] = {"settings": own_settings(task, params)}
    wanted = {
        "data": params.dataset(task).files(params.download_glue),
        "model": local_model(task, params, known.get("model", {})),
    }
    for part, files in wanted.items():
        missing = [str(file) for file in files if not file.exists()]
        if part == "data" and not files:  # such as a folder that an environment variable names
            missing = list(known.get(part, {}))
        if not missing:
            # Numbered, because two may have one name; a path would be this machine's own.
            parts[part] = {f"{i} {file.name}": of(file) for i, file in enumerate(files, start=1)}
        elif known.get("settings") == parts["settings"] and part in known:
            file = cleaned(missing[0])
            print(f"{task}: {file} is not here; what was built from it before stands")
            parts[part] = known[part]
        else:
            raise UserError(f"{missing[0]} does not exist, which {task} needs; correct the path")
    return parts


def own_settings(task: str, params: Params) -> dict:
    """The entry of `csv`, which no other task shall notice a change of.

    With the checkpoint, whose classes' order a file takes on, and which needs no training rows.
    What is written here goes to git, so whose home a file lies in is left out.
    """
    own = params.csv.get(base_of(task))
    if own is None:
        return {}
    checkpoint = params.training(task).checkpoint
    settings = own.model_dump(mode="json") | ({"checkpoint": checkpoint} if checkpoint else {})
    paths = ("train", "validation", "test", "checkpoint")
    return settings | {key: shortened(settings[key]) for key in paths if key in settings}


def local_model(task: str, params: Params, known: dict) -> list[Path]:
    """The folder, if it is one or was one before: where it is not at hand, it reads as a hub id."""
    training = params.training(task)
    folder = of_user((training.checkpoint or training.model).removeprefix("random:"))
    was_one = f"1 {folder.name}" in known
    is_one = folder.is_dir() or str(folder).startswith(("/", ".", "~", "$"))
    return [folder] if is_one or was_one else []


def of(path: Path) -> dict[str, str] | str:
    return checksums(path) if path.is_dir() else sha256(path)
