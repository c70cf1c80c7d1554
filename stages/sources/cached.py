"""What was downloaded before: the manifest of its folder keeps the checksum with which it came."""

from collections.abc import Callable
from pathlib import Path

from stages.plumbing.files import sha256, write_json
from stages.plumbing.lock import locked
from stages.plumbing.manifest import MANIFEST, SHA256, Damaged, read_listed


def fetched_once(target: Path, fetch: Callable[[], None]) -> None:
    """Have `fetch` write `target` unless it lies there; one process at a time, others find it."""
    if not is_cached(target):
        with locked(target):
            if not target.exists():
                fetch()


def is_cached(target: Path) -> bool:
    """Whether it lies there as it came; what was altered since is removed, and said."""
    if not target.exists():
        return False
    # One that is not in the list was put there by hand.
    if checksums_in(target.parent).get(target.name) in (None, sha256(target)):
        return True
    print(f"{target} was altered after it was downloaded: removed", flush=True)
    forget(target)
    return False


def keep(partial: Path, target: Path, checksum: str) -> None:
    """Give a complete download its name, its checksum being noted before."""
    with locked(target.parent / MANIFEST):
        note(target.parent, checksums_in(target.parent) | {target.name: checksum})
    partial.replace(target)


def forget(target: Path) -> None:
    """Remove it and its checksum: another one may be put there by hand."""
    with locked(target), locked(target.parent / MANIFEST):
        target.unlink(missing_ok=True)
        listed = checksums_in(target.parent)
        if listed.pop(target.name, ""):
            note(target.parent, listed)


def note(folder: Path, listed: dict[str, str]) -> None:
    if listed:
        write_json(folder / MANIFEST, {SHA256: listed})
    else:
        (folder / MANIFEST).unlink()


def checksums_in(folder: Path) -> dict[str, str]:
    if not (folder / MANIFEST).exists():
        return {}
    try:
        return dict(read_listed(folder)[SHA256])
    except Damaged:
        return {}
