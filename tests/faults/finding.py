"""What a trial found wrong, and how often what was tried."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    LOST = "lost"  # an input, or the way back to the undisturbed result
    HALF_WRITTEN = "half-written"  # under a final name neither nothing, nor the old, nor the new
    SILENT = "silent"  # ended well with another result
    HANG = "hang"  # did not end, or left a process that did not
    UNRULY = "unruly"  # ended neither well nor with code 2 and one line
    LEFT = "left lying"  # a file that belongs to nothing


@dataclass(frozen=True)
class Wrong:
    kind: Kind
    what: str


@dataclass(frozen=True)
class Trial:
    """One fault and what came of it.

    Attributes:
        job: the stage with its arguments, as on its command line.
        point: where: an event, a byte, a bit.
    """

    fault: str
    job: str
    point: str
    wrongs: tuple[Wrong, ...] = ()


@dataclass
class Record:
    """All trials of a run; the same wrong of one job stands there once, with its points."""

    trials: list[Trial] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # fault -> why

    def add(self, trial: Trial) -> None:
        self.trials.append(trial)
        for wrong in trial.wrongs:
            print(
                f"{trial.fault}, {trial.job}, {trial.point}: {wrong.kind.upper()}: {wrong.what}",
                flush=True,
            )

    @property
    def found(self) -> int:
        return sum(len(trial.wrongs) for trial in self.trials)

    def counts(self) -> list[dict[str, Any]]:
        """For each fault and job what was tried and, of each kind, how many trials were wrong."""
        tried = Counter((trial.fault, trial.job) for trial in self.trials)
        wrong = Counter(
            (trial.fault, trial.job, kind)
            for trial in self.trials
            for kind in {one.kind for one in trial.wrongs}
        )
        return [
            {"fault": fault, "job": job, "tried": number}
            | {str(kind): wrong[fault, job, kind] for kind in Kind}
            for (fault, job), number in tried.items()
        ]

    def findings(self) -> list[dict[str, Any]]:
        points: dict[tuple[str, str, str, str], list[str]] = {}
        for trial in self.trials:
            for one in trial.wrongs:
                points.setdefault((trial.fault, trial.job, one.kind, one.what), []).append(
                    trial.point
                )
        return [
            {"fault": fault, "job": job, "kind": kind, "what": what, "times": len(where)}
            | {"points": where[:5]}
            for (fault, job, kind, what), where in points.items()
        ]
