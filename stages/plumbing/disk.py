"""The disk that something is written to: whether it is full, what it is called."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

FULL = {
    errno.ENOSPC: "is full",
    errno.EDQUOT: "leaves you no more (your quota is used up)",
    errno.EFBIG: "takes no file of this size (see 'ulimit -f')",
}
# Of libraries that tell no number: what they say, or torch's writer without a reason.
SAID = {
    "No space left on device": FULL[errno.ENOSPC],
    "Disk quota exceeded": FULL[errno.EDQUOT],
    "File too large": FULL[errno.EFBIG],
    "PytorchStreamWriter failed": "takes no more",
    "basic_ios::clear: iostream error": "takes no more",
    "] . unexpected pos": "takes no more",
}


def why_full(error: BaseException) -> str:
    """What the disk answered, as it follows its name; empty where it was something else."""
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return FULL.get(number, "")
    return next((SAID[words] for words in SAID if words in str(error)), "")


def remember(error: BaseException, place: Path) -> None:
    """Note on what was raised which disk it was and how full.

    Call where a write has failed, before what was written of it is removed.
    """
    for each in chain(error):
        if why_full(each) and not hasattr(each, "disk"):
            with suppress(AttributeError):  # of an exception without attributes
                each.disk = described(place)  # type: ignore[attr-defined]


def described(place: Path) -> str:
    """Its mount point and what is free, as in `the disk at /data (12.3 MB free)`."""
    mount = existing(place)
    while not os.path.ismount(mount) and mount != mount.parent:
        mount = mount.parent
    return f"the disk at {mount} ({free(place) / 1e6:,.1f} MB free)"


def free(place: Path) -> int:
    """Bytes."""
    return shutil.disk_usage(existing(place)).free


def existing(place: Path) -> Path:
    """The place, or the first of the folders around it that is there."""
    place = place.absolute()
    return next((each for each in (place, *place.parents) if each.exists()), Path("/"))


def need_room(folder: Path, size: int) -> None:
    """Raises OSError where `size` bytes do not fit beside `folder`'s files.

    For libraries whose writers end the process on a full disk. What is taken for the trial is given
    back at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trial = folder / ".room"
    try:
        with trial.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, max(size, 1))
            elif free(folder) < size:  # macOS
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        remember(error, folder)
        raise
    finally:
        trial.unlink(missing_ok=True)


def chain(error: BaseException | None) -> list[BaseException]:
    """An exception, and those that it came from: libraries wrap what the system answered."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden
    return found
