"""Look at what DVC cannot see: this machine, files outside of the repository, what was left lying.

Runs in every `dvc repro`, and writes the same bytes where nothing changed. So a new machine
re-times, an old one does not, and only another instruction set or torch, which can change an INT8
answer, re-evaluates; a change of the user's own data or model is noticed.
"""

from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.settings.params import load_params
from stages.workspace.leftovers import remove_leftovers
from stages.workspace.machine import describe
from stages.workspace.outside_files import outside_files

# What can change an INT8 answer; another of these re-evaluates.
DECIDES_ANSWERS = ("instruction_set", "torch", "onnxruntime")


def environment() -> None:
    """Write metrics/environment.json, metrics/arithmetic.json and metrics/outside/<task>.json."""
    params, facts = load_params(), describe()
    for task in params.tasks:
        target = paths.OUTSIDE / f"{task}.json"  # those of other tasks stay, as their results do
        known = read_json(target) if target.exists() else {}
        write_json(target, outside_files(task, params, known))
    for task in params.tasks:
        remove_leftovers(task, params)
    write_json(paths.ENVIRONMENT, facts)
    write_json(paths.ARITHMETIC, {key: facts[key] for key in DECIDES_ANSWERS})
    print(f"{facts['cpu']}, {facts['instruction_set']}, {facts['cores']} cores")


if __name__ == "__main__":
    run_stage(environment)
