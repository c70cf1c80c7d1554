"""Describe this machine. Runs in every `dvc repro`, and writes the same bytes on the same machine.

So a new machine re-times, an old one does not, and only a new instruction set re-evaluates.
"""

from stages.measure.environment import describe
from stages.plumbing import paths
from stages.plumbing.command import run_stage
from stages.plumbing.files import write_json


def environment() -> None:
    """Write metrics/environment.json and metrics/instruction_set.json."""
    facts = describe()
    write_json(paths.ENVIRONMENT, facts)
    write_json(paths.INSTRUCTION_SET, {"instruction_set": facts["instruction_set"]})
    print(f"{facts['cpu']}, {facts['instruction_set']}, {facts['cores']} cores")


if __name__ == "__main__":
    run_stage(environment)
