"""What an interrupted race had finished: kept round by round, so that the next one goes on there.

A round is kept when all of its runners are through with it; one that was cut short is run anew.
What is kept belongs to one set of settings, one state of the code and one machine, and is found by
a key of these alone: nothing of another race can get in. Who was left out stays so, because a
runner that missed some rounds has not run the same batches as the others.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.environment import environment
from stages.model.tokens import Batch
from stages.plumbing.files import sha256, write_json
from stages.plumbing.json_file import read_json

FOLDER = "unfinished"
HERE = Path(__file__).parent


@dataclass
class Outcome:
    """What one model's race gave.

    Attributes:
        samples: one timed call each: model, threads, runner, kind, batch, round, ms.
        runners: name -> size_mb, bits, load_s, peak_mb (at the first thread count), hidden_by.
        left_out: name -> why it did not take part, one line.
        first_answers: name -> seconds, see first_answer.py.
        answers: name -> row of the split -> the class it gave, at the first thread count.
        finished: thread count and number of each round that all runners are through with.
        sittings: in how many runs of the program this was timed.
    """

    samples: list[dict[str, Any]] = field(default_factory=list)
    runners: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    first_answers: dict[str, float] = field(default_factory=dict)
    answers: dict[str, dict[int, int]] = field(default_factory=dict)
    finished: list[list[int]] = field(default_factory=list)
    sittings: int = 1

    def leave_out(self, name: str, why: str) -> None:
        self.left_out[name] = why
        print(f"  {name}: left out, {why}", flush=True)

    def cut(self, name: str, threads: int, why: str) -> None:
        """Leave out whoever cannot go on, with what it ran of this thread count so far."""
        self.leave_out(name, why)
        self.samples = [
            one for one in self.samples if (one["runner"], one["threads"]) != (name, threads)
        ]
        if all(one["runner"] != name for one in self.samples):
            self.runners.pop(name, None)
            self.answers.pop(name, None)


@dataclass(frozen=True)
class Progress:
    """The file of one race that is not over."""

    file: Path

    def read(self) -> Outcome:
        """What was finished in earlier sittings; empty where this is the first."""
        if not self.file.exists():
            return Outcome()
        outcome = Outcome(**read_json(self.file))
        outcome.answers = {
            name: {int(row): answer for row, answer in given.items()}
            for name, given in outcome.answers.items()
        }
        outcome.sittings += 1
        return outcome

    def keep(self, outcome: Outcome) -> None:
        write_json(self.file, asdict(outcome))

    def drop(self) -> None:
        """Once the results are written."""
        self.file.unlink(missing_ok=True)


def progress_of(
    folder: Path, checkpoint: Path, batches: Mapping[str, Batch], settings: Any
) -> Progress:
    """Found by the settings, the batches, the model, the code and the machine.

    Args:
        folder: of the model that is raced.
        settings: all else that decides what is timed, as JSON takes it.
    """
    facts = {"settings": settings, "environment": environment()}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, batch in sorted(batches.items()):
        for argument, array in sorted(batch.items()):
            digest.update(f"{name} {argument} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    sources = [*HERE.glob("*"), *HERE.glob("peers/*"), *HERE.parent.glob("stages/**/*")]
    for path in sorted(sources):
        if path.suffix in (".py", ".cpp", ".h"):
            digest.update(path.read_bytes())
    digest.update(Path("params.yaml").read_bytes())
    for path in sorted(checkpoint.iterdir()):
        digest.update(f"{path.name} {sha256(path)}".encode())
    return Progress(folder / FOLDER / f"{digest.hexdigest()[:24]}.json")
