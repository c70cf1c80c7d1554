"""The numbered file events of a process: counted, and one of them the last; see events.c."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("events.c")
VARIABLE = "FAULTS_EVENTS"  # the compiled library, in the environment of the driver


class Plan(IntEnum):
    """What happens at the n-th event."""

    OFF = 0
    COUNT = 1
    KILL = 2
    KILL_HALF_WRITTEN = 3  # of a write, half the bytes are on the disk
    FULL = 4  # from there on nothing more fits


@dataclass(frozen=True)
class Event:
    """`what` happened to `path`; of a number that counts, unless it only read."""

    what: str
    path: str
    needs_space: bool
    only_read: bool

    def within(self, folder: Path) -> "Event":
        """With its path from there."""
        return replace(self, path=Path(self.path).relative_to(folder).as_posix())


@dataclass(frozen=True)
class Armed:
    """What a process is told before it runs.

    Attributes:
        below: only what happens to files in this folder counts.
        log: gets a line for each event; "" for none.
    """

    plan: Plan
    at: int
    below: Path
    log: str = ""

    def arm(self) -> None:
        library().faults_arm(int(self.plan), self.at, str(self.below).encode(), self.log.encode())


def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(os.environ[VARIABLE])
    loaded.faults_arm.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p]
    return loaded


def read_log(log: Path) -> list[Event]:
    events = []
    for line in log.read_text(errors="surrogateescape").splitlines():
        kind, what, path = line.split(" ", 2)
        events.append(Event(what, path, kind == "+", kind == "."))
    return events


def start_anew_with_events(module: str) -> None:
    """Replace this process by the same one with the library in it; nothing where it is in already.

    One thread for each library: a process that forks must have no others.
    """
    if VARIABLE in os.environ:
        return
    compiled = Path(tempfile.mkdtemp(prefix="faults-events-")) / "events.so"
    command = [os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-w", str(SOURCE)]
    subprocess.run([*command, "-o", str(compiled), "-ldl"], check=True)
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    more = dict.fromkeys(threads, "1") | {"TOKENIZERS_PARALLELISM": "false"}
    more |= {"PYTHONDONTWRITEBYTECODE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    more |= {VARIABLE: str(compiled), "LD_PRELOAD": str(compiled)}
    command = [sys.executable, "-m", module, *sys.argv[1:]]
    os.execve(sys.executable, command, os.environ | more)


def remove_library() -> None:
    """At the very end: whatever is executed before loads it."""
    shutil.rmtree(Path(os.environ[VARIABLE]).parent)
