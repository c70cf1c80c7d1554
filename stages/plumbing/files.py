"""Nothing is ever half written: write under a `.partial` name beside the target, then rename.

`.dvcignore` hides `*.partial`, so what a killed stage leaves behind never enters a checksum.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.plumbing.disk import remember
from stages.plumbing.modes import usual_modes

PARTIAL = ".partial"


def partial_name(target: Path) -> Path:
    return target.with_name(f"{target.name}{PARTIAL}")


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it becomes `target` only if the block succeeds."""
    partial = partial_name(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
    except BaseException as error:
        remember(error, partial)
        partial.unlink(missing_ok=True)
        raise
    usual_modes(partial)
    os.replace(partial, target)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it becomes `target` only if the block succeeds."""
    partial = partial_name(target)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException as error:
        remember(error, partial)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    usual_modes(partial)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[None]:
    """An empty folder that exists within the block and is gone behind it, whatever happens."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
