"""8-bit weights beside 8-bit activations: right on a CPU with VNNI, wrong on an x86 without it."""

import sys
from pathlib import Path

from stages.model.artifact import read_manifest


def announce(artifact: Path, remedy: str) -> None:
    """One line on stderr: answers differ here; `remedy` comes before the command that rebuilds."""
    manifest = read_manifest(artifact)
    task, seed = manifest.recipe.task, manifest.recipe.seed
    print(
        f"{manifest.variant} of {task} has 8-bit weights, which overflow on this CPU without VNNI, "
        f"so its answers differ from those of other CPUs; {remedy} with "
        f"'dvc repro -f -s quantize@{task}-{seed}-{manifest.variant}'",
        file=sys.stderr,
    )
