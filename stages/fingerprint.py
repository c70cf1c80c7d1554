"""What DVC cannot see from here: the user's own data files, and a model in a local folder.

Runs in every `dvc repro` and writes the same bytes unless one of them changed; download_glue and
finetune depend on what it writes. Where they are not at hand, as in a colleague's clone, the
committed fingerprint stands, so that nothing is rebuilt.
"""

from pathlib import Path

from stages.models.artifact import checksums
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import read_json, sha256, write_json
from stages.plumbing.params import Params, load_params


def fingerprint(task: str) -> None:
    """Write metrics/<task>/fingerprint.json; most tasks have nothing of that kind."""
    params, target = load_params(), paths.fingerprint(task)
    known = read_json(target) if target.exists() else {}
    parts = {"settings": settings(task, params)}
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
            print(f"{task}: {missing[0]} is not here; what was built from it before stands")
            parts[part] = known[part]
        else:
            raise UserError(f"{missing[0]} does not exist, which {task} needs; correct the path")
    write_json(target, parts)


def settings(task: str, params: Params) -> dict:
    """The entry of `csv`, which no other task shall notice a change of."""
    own = params.csv.get(task.split("__")[0])
    return {} if own is None else own.model_dump(mode="json")


def local_model(task: str, params: Params, known: dict) -> list[Path]:
    """The folder, if it is one or was one before: where it is not at hand, it reads as a hub id."""
    recipe = params.recipe(task)
    folder = Path((recipe.checkpoint or recipe.model).removeprefix("random:"))
    was_one = f"1 {folder.name}" in known
    is_one = folder.is_dir() or str(folder).startswith(("/", ".", "~"))
    return [folder] if is_one or was_one else []


def of(path: Path) -> dict[str, str] | str:
    return checksums(path) if path.is_dir() else sha256(path)


if __name__ == "__main__":
    run_stage(fingerprint)
