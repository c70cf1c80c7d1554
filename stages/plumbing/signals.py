"""Being asked to end: what was half written is removed on the way out, and children end too."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# Of a terminal that is closed the same; Ctrl-C is Python's own KeyboardInterrupt.
ASKS_TO_END = (signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 5.0


class Ended(BaseException):
    """By a signal. No `except Exception` stops it, everything that cleans up sees it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def signals_end_it() -> Iterator[None]:
    """Within the block a signal that asks to end is raised as `Ended`."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in ours:  # cleaning up is not to be cut off
            signal.signal(each, signal.SIG_IGN)
        # Before anything unwinds: a child that is killed there leaves its own without a parent.
        ask_children_to_end()
        raise Ended(number)

    # One that is ignored, as under nohup, stays so. Only a first thread may say what happens.
    first = threading.current_thread() is threading.main_thread()
    ours = [each for each in ASKS_TO_END if first and signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


def ask_children_to_end() -> None:
    """Compilers, timed processes, DVC and its stages, and whatever these have started."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.terminate()


def wait_for_children() -> None:
    """Until they have ended, most of them by the same signal; then asked to, then killed."""
    import psutil

    left = psutil.Process().children(recursive=True)
    for end in (psutil.Process.terminate, psutil.Process.kill):
        _, left = psutil.wait_procs(left, timeout=GRACE_SECONDS)
        for child in left:
            with suppress(psutil.NoSuchProcess):
                end(child)


def leave_ctrl_c_to_the_parent() -> None:
    """A terminal tells all processes of a command at once; one answer is enough."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
