"""Whether the rows that one stage left for later ones are still what it wrote.

The first lines of each stage that reads rows of a split, or what a variant answered to them.
"""

from stages.plumbing import paths
from stages.plumbing.files import sha256
from stages.plumbing.json_file import read_json
from stages.plumbing.manifest import REMEDY, Damaged, verify_files

# Of a predictions file, in the metrics that are made from it.
CHECKSUM = "predictions_sha256"


def verify_splits(task: str, *names: str) -> None:
    """Raises Damaged where one is not what stage download_glue wrote."""
    verify_files(paths.DATA / task, [paths.split(task, name).name for name in names])


def verify_predictions(task: str, seed: int | str, variant: str) -> None:
    """Of a variant that was skipped there are none.

    Raises:
        Damaged: the file is missing or not what stage evaluate wrote.
    """
    file, metrics = paths.predictions(task, seed, variant), paths.accuracy(task, seed, variant)
    if not file.exists():
        raise Damaged(f"{file} is missing; run 'dvc repro' (or 'dvc pull') first")
    known = read_json(metrics)
    if "skipped" not in known and sha256(file) != known.get(CHECKSUM):
        raise Damaged(f"{file} is not the one that {metrics} is of; {REMEDY}")
