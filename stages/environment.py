"""Look at what DVC cannot see: this machine, files outside of the repository, what was left lying.

Runs in every `dvc repro`, and writes the same bytes where nothing changed. So a new machine
re-times, an old one does not, and only another instruction set or torch, which can change an INT8
answer, re-evaluates; a change of the user's own data or model is noticed.
"""

from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_folder, read_json, write_json
from stages.settings.params import load_params
from stages.workspace.leftovers import remove_leftovers
from stages.workspace.machine import describe
from stages.workspace.outside_files import outside_files


def environment() -> None:
    """Write metrics/environment.json, metrics/arithmetic.json and metrics/outside/<task>.json."""
    params, facts = load_params(), describe()
    outside = {}
    for task in params.tasks:
        known = paths.OUTSIDE / f"{task}.json"
        outside[task] = outside_files(task, params, read_json(known) if known.exists() else {})
        remove_leftovers(task, params)
    with new_folder(paths.OUTSIDE) as folder:
        for task, files in outside.items():
            write_json(folder / f"{task}.json", files)
    write_json(paths.ENVIRONMENT, facts)
    write_json(paths.ARITHMETIC, {key: facts[key] for key in ("instruction_set", "torch")})
    print(f"{facts['cpu']}, {facts['instruction_set']}, {facts['cores']} cores")


if __name__ == "__main__":
    run_stage(environment)
