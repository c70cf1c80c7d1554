"""What a fault left behind, against what an undisturbed run leaves."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stages.plumbing.files import PARTIAL
from tests.faults.events import Event
from tests.faults.finding import Kind, Wrong
from tests.faults.jobs import Job

Files = dict[str, bytes]  # path below the project -> what is in it
# Where a stage keeps what a kill interrupted; emptied when it ends well.
SCRATCH = (".training", ".building")


def read_files(project: Path) -> Files:
    return {
        path.relative_to(project).as_posix(): path.read_bytes()
        for path in sorted(project.rglob("*"))
        if path.is_file()
    }


def unfinished(path: str) -> bool:
    """Whether its name says that it is not whole."""
    parts = Path(path).parts
    return parts[0] in SCRATCH or any(part.endswith(PARTIAL) for part in parts)


@dataclass(frozen=True)
class Reference:
    """An undisturbed run of a job.

    Attributes:
        old: the whole project as other settings leave it; new: as these do.
        varying: files that differ from run to run, such as timings; of them the form counts.
        events: what it does to files, in its order.
        stdout: what it prints, of a job that writes nothing.
    """

    job: Job
    old: Files
    new: Files
    varying: frozenset[str]
    events: list[Event]
    stdout: str
    seconds: float

    def same(self, path: str, one: bytes, other: bytes) -> bool:
        return one == other or (path in self.varying and form(path, one) == form(path, other))

    def half_written(self, before: Files, now: Files) -> list[Wrong]:
        """What must not be after a fault: an output in between, or anything else touched."""
        wrongs = []
        for out in self.job.outputs:
            found = below(out, now)
            states = {"old": below(out, before), "new": below(out, self.new)}
            if found and not any(self.agree(found, state) for state in states.values()):
                wrongs.append(Wrong(Kind.HALF_WRITTEN, f"{out}: {self.in_between(found, states)}"))
        for path, content in before.items():
            if not self.job.writes(path) and not unfinished(path) and now.get(path) != content:
                state = "was changed" if path in now else "is gone"
                wrongs.append(Wrong(Kind.LOST, f"{path}, which is no output, {state}"))
        for path in now.keys() - before.keys():
            if not self.job.writes(path) and not unfinished(path):
                wrongs.append(Wrong(Kind.LEFT, f"{path}, which is no output"))
        return wrongs

    def agree(self, found: Files, state: Files) -> bool:
        return found.keys() == state.keys() and all(
            self.same(path, content, state[path]) for path, content in found.items()
        )

    def in_between(self, found: Files, states: dict[str, Files]) -> str:
        torn = [
            path
            for path, content in found.items()
            if not any(
                path in state and self.same(path, content, state[path]) for state in states.values()
            )
        ]
        if torn:
            return f"{torn[0]} is neither the old nor the new file"
        return f"{len(found)} files, of {len(states['old'])} old and {len(states['new'])} new ones"

    def not_as_undisturbed(self, now: Files) -> list[Wrong]:
        """What differs once the job has ended well."""
        wrongs = [Wrong(Kind.LOST, f"{path} is not there") for path in self.new.keys() - now.keys()]
        wrongs += [
            Wrong(Kind.LEFT, path if unfinished(path) else f"{path}, which no undisturbed run has")
            for path in now.keys() - self.new.keys()
        ]
        wrongs += [
            Wrong(Kind.SILENT if self.job.writes(path) else Kind.LOST, f"{path} is another")
            for path in self.new.keys() & now.keys()
            if not self.same(path, self.new[path], now[path])
        ]
        return sorted(wrongs, key=lambda wrong: wrong.what)


def below(out: str, files: Files) -> Files:
    return {
        path: content
        for path, content in files.items()
        if (path == out or path.startswith(f"{out}/")) and not unfinished(path)
    }


def form(path: str, content: bytes) -> Any:
    """What does not vary of a file whose figures do; a torn one has another form."""
    try:
        if path.endswith(".json"):
            return kinds(json.loads(content))
        if path.endswith(".csv"):
            table = pd.read_csv(io.BytesIO(content))
            return list(table.columns), len(table)
    except ValueError:
        return None if not content else ("damaged", content)
    return content.count(b"\n"), content[-20:].strip().isascii()


def kinds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [kinds(each) for each in value]
    return "number" if isinstance(value, int | float) else type(value).__name__


def varying(one: Files, other: Files) -> frozenset[str]:
    """Paths that two undisturbed runs leave different."""
    return frozenset(path for path in one if other.get(path) != one[path])
