"""Describe this machine. Runs in every `dvc repro`, and writes the same bytes on the same machine.

So a new machine re-times, an old one does not, and only another
instruction set or torch, which can change an INT8 answer, re-evaluates.
"""

from stages.measure.environment import describe
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import write_json
from stages.plumbing.params import load_params


def environment() -> None:
    """Write metrics/environment.json and metrics/arithmetic.json."""
    load_params()  # this stage always runs, so a typo is found even when no other stage would
    facts = describe()
    write_json(paths.ENVIRONMENT, facts)
    write_json(paths.ARITHMETIC, {key: facts[key] for key in ("instruction_set", "torch")})
    print(f"{facts['cpu']}, {facts['instruction_set']}, {facts['cores']} cores")


if __name__ == "__main__":
    run_stage(environment)
