"""`make repro`: `dvc repro`, on the embedded task where the wanted one cannot be had."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from stages.commands.preset import apply_preset
from stages.dataset.task import base_of
from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.conflict import refuse_conflict
from stages.reporting.five_lines import five_lines
from stages.settings.params import Params, load_params

OFFLINE = "offline"
RUNS = re.compile(r"Running stage '(.+)':")  # what DVC says


def repro() -> None:
    """Run the pipeline and print the comparison, its short form last.

    Raises:
        UserError: there is no git here, or a merge is not finished.
    """
    need_git()
    need_no_conflicts()
    missing = out_of_reach(load_params())
    if missing:
        apply_preset(OFFLINE)
        print(
            f"{', '.join(missing)} cannot be had: no folder (GLUE_MIRROR), no hub, no official "
            f"site. params.yaml now says tasks: {load_params().tasks}, which is run instead, under "
            "its own name; 'git checkout params.yaml' takes it back.",
            flush=True,
        )
    reproduce()
    params = load_params()
    pages = [paths.REPORTS / name / "compare.md" for name in params.tasks]
    for page in [*pages, paths.REPORTS / "summary.md"]:
        print(f"\n{page.read_text(encoding='utf-8')}")
    for name in params.tasks:
        print(f"{five_lines(name, params)}\n")


def reproduce(on_stage: Callable[[str], None] = lambda item: None) -> None:
    """`dvc repro`.

    Args:
        on_stage: called with the name of each stage that runs, before it does.

    Raises:
        SystemExit: it failed, with its code.
    """
    # DVC starts the stages with `python`, which must be this one.
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro"]
    environment = os.environ | {"PATH": search}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            print(line, end="", flush=True)
            if begins := RUNS.match(line):
                on_stage(begins[1])
    if running.returncode:
        raise SystemExit(running.returncode)


def need_no_conflicts() -> None:
    """Raises UserError: of a file that holds one DVC only says that it is no valid YAML."""
    for file in map(Path, ("params.yaml", "dvc.yaml", "dvc.lock")):
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            refuse_conflict(file, text, "'make repro'")


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
