"""One process at a time for what two would write: the second waits, and says so.

The system takes a lock from a process that ends, be it killed. The lock's file lies beside the
target under a `.partial` name, which neither git nor DVC looks at, and goes with the lock. (The
library filelock keeps such a file for ever, because most that take it away split who waits.)
"""

import errno
import fcntl
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENDING = ".lock.partial"
# What a file system answers that has no locks. What is written is whole there all the same, since
# each process writes under a name of its own.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

HELD = threading.local()  # by a thread: files of the locks that it has


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Nobody else who asks for `target` goes on meanwhile; look then whether the work is done.

    Whoever has it may ask for it again.
    """
    file, held = lock_file(target.absolute()), HELD.__dict__.setdefault("files", set())
    if file in held:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = take(file, wait=False)
    if lock is None:
        print(f"{target}: another process is at work on it; waiting", file=sys.stderr, flush=True)
        lock = take(file, wait=True)
    assert lock is not None
    held.add(file)
    try:
        yield
    finally:
        held.remove(file)
        give_back(file, lock)


def is_locked(target: Path) -> bool:
    """Whether a process that lives is at work on it; what a killed one left of its lock goes."""
    file = lock_file(target)
    lock = take(file, wait=False)
    if lock is not None:
        give_back(file, lock)
    return lock is None


def lock_file(target: Path) -> Path:
    return target.with_name(target.name + ENDING)


def take(file: Path, wait: bool) -> int | None:
    """A descriptor that holds the lock; None where another process does."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(lock)
                raise
        except BaseException:
            os.close(lock)
            raise
        if is_file_of(lock, file):
            return lock
        os.close(lock)  # who had it has taken the file away meanwhile; there may be a new one


def is_file_of(lock: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(file))
    except FileNotFoundError:
        return False


def give_back(file: Path, lock: int) -> None:
    # While it is held, so that nobody is left with the lock of a file that is gone.
    file.unlink(missing_ok=True)
    os.close(lock)
