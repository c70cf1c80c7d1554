"""`make restore`: what is damaged goes, in DVC's cache too, so that it can come back whole.

DVC takes each read-only file in its cache for what its name says, and a folder's files for what
they were when it last looked: `dvc checkout`, `dvc pull` and `dvc repro` bring a damaged one back.
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stages.dataset.verified import verify_predictions
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import remove
from stages.plumbing.manifest import MANIFEST, verify_folder

OBJECTS = Path("files/md5")  # in DVC's cache: two digits, a folder, the others


def restore() -> None:
    """Remove damaged outputs and objects of DVC's cache; take back from there what it holds whole.

    Raises:
        UserError: there is no DVC repository here.
    """
    outputs = list(damaged_outputs())
    for path in outputs:
        remove(path)
    objects = list(damaged_objects(cache_folder()))
    for path in objects:
        print(f"{path} in DVC's cache is not what its name says: removed")
        path.unlink()
    if outputs:  # what the cache lacks stays away, which is no error here
        subprocess.run([*dvc("checkout", "--allow-missing"), *map(str, outputs)], check=False)
    missing = [path for path in outputs if not path.exists()]
    for path in missing:
        print(f"{path} is in DVC's cache no more: 'dvc pull' fetches it, 'dvc repro' makes it anew")
    if not outputs and not objects:
        print("nothing is damaged")
    elif not missing:
        print("all else is whole; 'dvc repro' goes on")


def damaged_outputs() -> Iterator[Path]:
    """Outputs that are not what their stage wrote, and says why."""
    sealed = [
        file.parent
        for root, depth in ((paths.DATA, "*"), (paths.MODELS, "*/*/*"), (paths.EXPORTS, "*"))
        for file in sorted(root.glob(f"{depth}/{MANIFEST}"))
    ]
    for folder in sealed:
        if reason := why_damaged(folder):
            print(f"removed: {reason}")
            yield folder
    for file in sorted(paths.REPORTS.glob("*/predictions/seed_*/*.csv")):
        task, seed = file.parts[1], file.parts[3].removeprefix("seed_")
        if paths.accuracy(task, seed, file.stem).exists():
            try:
                verify_predictions(task, seed, file.stem)
            except UserError as reason:
                print(f"removed: {str(reason).partition(';')[0]}")
                yield file


def why_damaged(folder: Path) -> str:
    try:
        verify_folder(folder)
    except UserError as reason:
        return str(reason).partition(";")[0]
    return ""


def damaged_objects(cache: Path) -> Iterator[Path]:
    for path in sorted((cache / OBJECTS).glob("??/*")):
        if path.is_file() and not path.name.endswith(".tmp"):
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != path.parent.name + path.name.removesuffix(".dir"):
                yield path


def cache_folder() -> Path:
    asked = subprocess.run(dvc("cache", "dir"), capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"DVC does not say where its cache is: {asked.stderr.strip()}")
    return Path(asked.stdout.strip())


def dvc(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dvc", *arguments]


if __name__ == "__main__":
    run_stage(restore)
