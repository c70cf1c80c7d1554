"""How long something from outside may take: no longer than its bytes keep coming."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

# A server that drips never runs into a timeout of the socket, which begins anew with each byte.
GRACE_SECONDS = 60.0
LEAST_RATE = 16 * 1024  # bytes a second, on the average since the beginning
LONGEST_SECONDS = 6 * 3600.0


class TooSlow(Exception):
    """It took longer than it may."""


def in_time(work: Callable[[], T], received: Callable[[], int], grace: float = 0) -> T:
    """What `work` gives, or raises.

    It runs in a thread, which is left behind where it takes too long: nothing else ends a wait for
    a byte that never comes. At the end of the process it is gone.

    Args:
        received: how many bytes came so far.
        grace: seconds before the rate counts; 0: GRACE_SECONDS.

    Raises:
        TooSlow: less came than LEAST_RATE, or it takes LONGEST_SECONDS.
    """
    outcome: SimpleQueue[tuple[list[T], BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put(([work()], None))
        except BaseException as error:
            outcome.put(([], error))

    start = time.monotonic()
    Thread(target=run, daemon=True).start()
    while True:
        allowed = min((grace or GRACE_SECONDS) + received() / LEAST_RATE, LONGEST_SECONDS)
        left = start + allowed - time.monotonic()
        if left <= 0:
            raise TooSlow(f"less than {LEAST_RATE // 1024} kB a second")
        try:
            answer, error = outcome.get(timeout=min(left, 1))
        except Empty:
            continue
        if error is not None:
            raise error
        return answer[0]
