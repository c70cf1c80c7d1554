"""`make repro`: `dvc repro`, on the embedded task where the wanted one cannot be had."""

import os
import subprocess
import sys
from pathlib import Path

from stages.commands.preset import apply_preset
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.settings.params import load_params

OFFLINE = "offline"


def repro() -> None:
    """Run the pipeline and print the comparison."""
    params = load_params()
    missing = [
        name
        for name in params.tasks
        if name.split("__")[0] not in params.csv
        and not paths.split(name, "validation").exists()
        and not params.dataset(name).reachable(params.download_glue)
    ]
    if missing == params.tasks:
        apply_preset(OFFLINE)
        print(
            f"{', '.join(missing)} cannot be had: no folder (GLUE_MIRROR), no hub, no official "
            f"site. params.yaml now says tasks: {load_params().tasks}, which is run instead, under "
            "its own name; 'git checkout params.yaml' takes it back.",
            flush=True,
        )
    # DVC starts the stages with `python`, which must be this one.
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro"]
    code = subprocess.run(command, env=os.environ | {"PATH": search}).returncode
    if code:
        raise SystemExit(code)
    for file in [paths.REPORTS / name / "compare.md" for name in load_params().tasks]:
        print()
        print(file.read_text(encoding="utf-8"))
    print((paths.REPORTS / "summary.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_stage(repro)
