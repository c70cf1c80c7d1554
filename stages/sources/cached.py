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
    with locked(target):
        print(f"{target} was altered after it was downloaded: removed", flush=True)
        target.unlink(missing_ok=True)
    return False


def keep(partial: Path, target: Path) -> None:
    """Give a complete download its name, its checksum being noted before."""
    manifest = target.parent / MANIFEST
    with locked(manifest):
        listed = checksums_in(target.parent) | {target.name: sha256(partial)}
        write_json(manifest, {SHA256: listed})
    partial.replace(target)


def checksums_in(folder: Path) -> dict[str, str]:
    if not (folder / MANIFEST).exists():
        return {}
    try:
        return dict(read_listed(folder)[SHA256])
    except Damaged:
        return {}
