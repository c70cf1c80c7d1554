"""Nothing is ever half written: write under a `.partial` name beside the target, then rename.

`.dvcignore` hides `*.partial`, so what a killed stage leaves behind never enters a checksum. Each
name is this process's own; what a killed one left is removed by the next that writes the target.
"""

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.plumbing.disk import remember
from stages.plumbing.lock import locked
from stages.plumbing.modes import usual_modes

PARTIAL = ".partial"
OLD = f".old{PARTIAL}"
# `<target>.<letters>.partial`: being written; `.old.partial`: what it takes the place of.
OURS = re.compile(rf"(?P<target>.+)\.[0-9a-f]{{8}}(\.old)?{re.escape(PARTIAL)}")
# Of Linux's fcntl.h and fs.h.
AT_FDCWD, RENAME_EXCHANGE = -100, 2
NO_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV)


def partial_name(target: Path) -> Path:
    """Of a download, which the next process continues; under the lock of `target` alone."""
    return target.with_name(f"{target.name}{PARTIAL}")


def own_name(target: Path, ending: str = PARTIAL) -> Path:
    return target.with_name(f"{target.name}.{secrets.token_hex(4)}{ending}")


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `target` only if the block succeeds."""
    with locked(target):
        tidy(target)
        partial = own_name(target)
        try:
            yield partial
            usual_modes(partial)
            os.replace(partial, target)
        except BaseException as error:
            remember(error, partial)
            remove(partial)
            raise


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it becomes `target` only if the block succeeds.

    At any moment `target` is the old folder or the new one, whole.
    """
    with locked(target):
        tidy(target)
        partial = own_name(target)
        partial.mkdir()
        try:
            yield partial
            usual_modes(partial)
            put_in_place(partial, target)
        except BaseException as error:
            remember(error, partial)
            remove(partial)
            raise


@contextmanager
def scratch_folder(folder: Path) -> Iterator[None]:
    """An empty folder that exists within the block and is gone behind it, whatever happens."""
    remove(folder)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        remove(folder)


def put_in_place(partial: Path, target: Path) -> None:
    """Rename a folder to `target`, and only then remove what was there."""
    if not os.path.lexists(target):
        os.replace(partial, target)
    elif exchange(partial, target):
        remove(partial)
    else:
        in_two_steps(partial, target)


def in_two_steps(partial: Path, target: Path) -> None:
    """A kill between them leaves no target, but all of the old one: `tidy` brings it back."""
    old = own_name(target, OLD)
    try:
        os.replace(target, old)
        os.replace(partial, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        raise
    remove(old)


def exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or its file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if sys.platform != "linux" or renameat2 is None:
        return False
    names = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other))
    if renameat2(*names, RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in NO_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def target_of(path: Path) -> Path | None:
    """What a file or folder that is being written will become; None if it is no such one."""
    ours = OURS.fullmatch(path.name)
    return path.with_name(ours["target"]) if ours else None


def tidy(target: Path) -> None:
    """What killed processes left of `target`, under its lock: all goes but the last whole one."""
    for left in sorted(target.parent.iterdir()):
        if target_of(left) != target:
            continue
        if left.name.endswith(OLD) and not os.path.lexists(target):
            os.replace(left, target)
        else:
            remove(left)


def remove(path: Path) -> None:
    """A file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    with new_file(target) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Deterministic: the same value gives the same bytes."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
