"""Commands as a user types them, run one after the other, and what each took."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

OUTPUT = "printed.txt"


@dataclass(frozen=True)
class Command:
    """Attributes:
    typed: with MODEL and DATA for the paths.
    program: what is run, where that is not what is typed.
    """

    typed: str
    program: tuple[str, ...] = ()

    def words(self, model: Path, data: Path) -> list[str]:
        places = {"MODEL": str(model), "DATA": str(data)}
        return [places.get(word, word) for word in self.program or self.typed.split()]


@dataclass(frozen=True)
class Step:
    """Attributes:
    cpu_minutes: user and system, of the process and all that it waited for.
    code: its exit code.
    """

    typed: str
    cpu_minutes: float
    wall_minutes: float
    code: int


def take(command: Command, model: Path, data: Path, folder: Path, programs: Path) -> Step:
    """Run it in `folder`; what it prints is added to OUTPUT there.

    Args:
        programs: a folder that is searched before all others.
    """
    search = f"{programs}{os.pathsep}{os.environ['PATH']}"
    began = time.monotonic()
    with (folder / OUTPUT).open("a") as output:
        child = subprocess.Popen(
            command.words(model, data),
            cwd=folder,
            # Python's warnings are for the tool's makers, and are not what it says to its user.
            env=os.environ | {"PATH": search, "PYTHONWARNINGS": "ignore"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait once more
    wall = (time.monotonic() - began) / 60
    cpu = (usage.ru_utime + usage.ru_stime) / 60
    return Step(command.typed, cpu, wall, child.returncode)
