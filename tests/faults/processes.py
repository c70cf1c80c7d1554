"""A job in a forked process, in a place of its own, with a fault or without."""

import ctypes
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests import warm
from tests.faults.events import Armed
from tests.faults.jobs import Job

# An undisturbed job takes seconds; on a machine that has other things to do, minutes.
DEADLINE_S = 600.0
ORPHANS_MAY_TAKE_S = 120.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Place:
    """The folders of one trial: everything that a job may write to."""

    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def environment(self) -> dict[str, str]:
        return {
            "XDG_CACHE_HOME": str(self.cache),
            "BERTQUANT_CACHE": str(self.cache / "downloads"),
            "HF_HOME": str(self.cache / "hub"),
            "TMPDIR": str(self.temporary),
        }


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        code: negative where a signal ended it.
        hung: it, or a process that it started, had to be killed.
    """

    code: int
    hung: bool
    stdout: str
    stderr: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL and not self.hung

    def refused(self, job: Job) -> bool:
        """With code 2 and the stage's one line, behind whatever was said while it worked."""
        began = f"{job.stage.removesuffix('.py')}: "
        lines = [line for line in self.said() if line.startswith(began)]
        return self.code == 2 and len(lines) == 1 and self.last_line() == lines[0][:300]

    def said(self) -> list[str]:
        """All lines on stderr but those of progress bars."""
        return [line for line in self.stderr.splitlines() if line.strip() and "%|" not in line]

    def last_line(self) -> str:
        said = self.said()
        return said[-1][:300] if said else f"code {self.code}, and nothing was said"


def collect_orphans() -> None:
    """Have the kernel give us what a killed job leaves running, to be waited for."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Process:
    """A job that runs; a session of its own, in which all that it starts is found again."""

    def __init__(
        self,
        job: Job,
        place: Place,
        python: Path,
        armed: Armed | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Start it.

        Args:
            python: see warm.py.
            more: of the environment.
        """
        number = len(list(place.folder.glob("*.stdout")))
        self.outputs = [place.folder / f"{number}.{kind}" for kind in ("stdout", "stderr")]
        for path in self.outputs:
            path.touch()
        self.pid = os.fork()
        if self.pid == 0:
            self.be(job, place, python, armed, more or {})
        self.end = os.pidfd_open(self.pid)

    def be(
        self,
        job: Job,
        place: Place,
        python: Path,
        armed: Armed | None,
        more: Mapping[str, str],
    ) -> None:
        """The child's side; never returns."""
        code = 1
        try:
            os.setsid()
            files = [os.open(os.devnull, os.O_RDONLY)]
            files += [os.open(path, os.O_WRONLY | os.O_APPEND) for path in self.outputs]
            for number, file in enumerate(files):
                os.dup2(file, number)
            os.chdir(place.project)
            os.environ.update(place.environment() | dict(more))
            tempfile.tempdir = None
            sys.executable = str(python)
            import huggingface_hub.constants

            # Looked up when it was imported, which was before.
            huggingface_hub.constants.HF_HUB_CACHE = str(place.cache / "hub" / "hub")
            if armed:
                armed.arm()
            code = warm.run(list(job.arguments))
        finally:
            os._exit(code)

    def ended(self, deadline_s: float = DEADLINE_S) -> Ended:
        """Wait for it and for all that it started."""
        poll = select.poll()
        poll.register(self.end, select.POLLIN)
        hung = not poll.poll(1000 * deadline_s)
        os.close(self.end)
        if hung:
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        hung = self.others_run(time.monotonic() + ORPHANS_MAY_TAKE_S) or hung
        stdout, stderr = (path.read_text(errors="replace") for path in self.outputs)
        return Ended(os.waitstatus_to_exitcode(status), hung, stdout, stderr)

    def others_run(self, deadline: float) -> bool:
        """Whether something that it started must be killed, since it does not end by itself."""
        while True:
            with suppress(ChildProcessError):
                while os.waitpid(-self.pid, os.WNOHANG)[0]:
                    pass
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                return True
            time.sleep(0.005)
