"""`make repro`: `dvc repro`, on the embedded task where the wanted one cannot be had."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from stages.commands.preset import apply_preset
from stages.dataset.task import base_of
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.reporting.five_lines import five_lines
from stages.settings.params import Params, load_params

OFFLINE = "offline"


def repro() -> None:
    """Run the pipeline and print the comparison, its short form last.

    Raises:
        UserError: there is no git here.
    """
    need_git()
    missing = out_of_reach(load_params())
    if missing:
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
    params = load_params()
    pages = [paths.REPORTS / name / "compare.md" for name in params.tasks]
    for page in [*pages, paths.REPORTS / "summary.md"]:
        print(f"\n{page.read_text(encoding='utf-8')}")
    for name in params.tasks:
        print(f"{five_lines(name, params)}\n")


def need_git() -> None:
    if shutil.which("git") is None:
        raise UserError("git is not installed, which DVC needs; install it")
    asked = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, text=True)
    if asked.returncode:
        said = asked.stderr.strip().split("\n")[0]
        raise UserError(
            f"{Path.cwd()} is no git repository, which DVC needs ({said}); clone the project with "
            "git, or run 'git init', 'git add .' and 'git commit'"
        )


def out_of_reach(params: Params) -> list[str]:
    """The tasks, if none of them was fetched before nor can be fetched now."""
    missing = [
        name
        for name in params.tasks
        if base_of(name) not in params.csv
        and not paths.split(name, "validation").exists()
        and not params.dataset(name).reachable(params.download_glue)
    ]
    return missing if missing == params.tasks else []


if __name__ == "__main__":
    run_stage(repro)
