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
    for path in outputs:
        if not path.exists() or why_damaged(path):
            print(
                f"{path} is not whole in DVC's cache: 'dvc pull' fetches it, 'dvc repro' makes it"
            )
    if outputs or objects:
        print("what is here is whole; 'dvc repro' goes on")
    else:
        print("nothing is damaged")


def damaged_outputs() -> Iterator[Path]:
    """Outputs that are not what their stage wrote, and says why."""
    sealed = [
        file.parent
        for root, depth in ((paths.DATA, "*"), (paths.MODELS, "*/*/*"), (paths.EXPORTS, "*"))
        for file in sorted(root.glob(f"{depth}/{MANIFEST}"))
    ]
    for path in (*sealed, *sorted(paths.REPORTS.glob("*/predictions/seed_*/*.csv"))):
        if reason := why_damaged(path):
            print(f"removed: {reason}")
            yield path


def why_damaged(output: Path) -> str:
    """Of a folder with a manifest, or a file of predictions; empty where it is whole."""
    try:
        if output.is_dir():
            verify_folder(output)
        else:
            _, task, _, seed, _ = output.parts
            verify_predictions(task, seed.removeprefix("seed_"), output.stem)
    except UserError as reason:
        return str(reason).partition(";")[0]
    except FileNotFoundError:  # no metrics that the predictions could be of
        return ""
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
