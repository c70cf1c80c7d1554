"""The hub's own cache: a file lies there under its checksum, which the hub's library never checks.

A snapshot is a folder of links to them: named by their sha256 where they are large, else by git's
sha1 (huggingface_hub takes both from the hub's ETag).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from stages.plumbing.files import sha256


def git_sha1(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


# By the number of digits.
CHECKSUMS: dict[int, Callable[[Path], str]] = {64: sha256, 40: git_sha1}


def forget_damaged(snapshot: Path) -> list[str]:
    """Names of its files that are not what they are called by; they are removed."""
    found = []
    for link in sorted(snapshot.iterdir()):
        file = link.resolve()
        checksum = CHECKSUMS.get(len(file.name)) if link.is_symlink() and file.is_file() else None
        if checksum is not None and checksum(file) != file.name:
            file.unlink()
            link.unlink()
            found.append(link.name)
    return found
