"""manifest.json: the checksum of every other file of a folder, by the stage that wrote it.

Whoever reads the folder compares first. A bit that flips, a file that somebody added and a link
out of the folder so never become other weights, other rows or other answers.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from stages.plumbing.command import UserError
from stages.plumbing.files import PARTIAL, sha256, write_json
from stages.plumbing.json_file import read_json

MANIFEST = "manifest.json"
SHA256 = "sha256"
# Removes what is damaged, from DVC's cache too, whose read-only files `dvc checkout` trusts.
REMEDY = "run 'make restore', which removes what is damaged, and then 'dvc repro'"


class Damaged(UserError):
    """Something is not what was written; the message names it and what restores it."""


def write_checksums(folder: Path, **facts: Any) -> None:
    """Write the manifest of what lies in `folder`: the last file that is written there.

    Raises:
        UserError: a link leads out of it.
    """
    check_links(folder)
    write_json(folder / MANIFEST, facts | {SHA256: checksums(folder)})


def checksums(folder: Path) -> dict[str, str]:
    """Path in `folder` -> sha256, of each file but the manifest, those of its folders too."""
    files = [path for path in sorted(walk(folder)) if path.is_file()]
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256(path) for name, path in named.items() if name != MANIFEST}


def walk(folder: Path) -> Iterator[Path]:
    """All that lies in it but what Python and a killed process leave; links are not followed."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(place, name) for name in (*folders, *files) if not name.endswith(PARTIAL))


def check_links(folder: Path, *also: Path) -> None:
    """Raises UserError where a link in `folder` leads out of it, and into none of `also` either.

    What lies there would be read as part of the model, and copied into what ships.
    """
    allowed = [place.resolve() for place in (folder, *also)]
    for path in walk(folder):
        leads_to = path.resolve()
        if path.is_symlink() and not any(leads_to.is_relative_to(place) for place in allowed):
            raise UserError(
                f"{path} is a link out of its folder, to {leads_to}; put the file itself there"
            )


def verify_folder(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, once every file is what it says and no other lies beside them.

    Raises:
        Damaged: a file is missing, altered or not in the list, or there is no list.
    """
    manifest = read_listed(folder)
    compare(folder, manifest[SHA256], manifest[SHA256])
    for path in sorted(walk(folder)):
        # A listed file may be a link, which DVC can make of it: it has been compared.
        name = path.relative_to(folder).as_posix()
        is_other = name not in (MANIFEST, *manifest[SHA256])
        if is_other and (path.is_file() or path.is_symlink()):
            raise Damaged(f"{path} is not in the {MANIFEST} of its folder; remove it")
    return manifest


def verify_files(folder: Path, names: Iterable[str]) -> None:
    """`verify_folder` of some files alone, where the others are not read. Raises Damaged."""
    compare(folder, read_listed(folder)[SHA256], names)


def read_listed(folder: Path) -> dict[str, Any]:
    """The manifest; the files are not compared. Raises Damaged where it lists none."""
    file = folder / MANIFEST
    if not file.exists():
        raise Damaged(f"{file} is missing; run 'dvc repro' (or 'dvc pull') first")
    try:
        manifest: dict[str, Any] = read_json(file)
        listed = manifest.get(SHA256)
    except UserError:
        listed = None
    if not isinstance(listed, dict) or not listed or not all(map(is_inside, listed)):
        raise Damaged(f"{file} is damaged: it lists no files of its folder; {REMEDY}")
    return manifest


def is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def compare(folder: Path, listed: dict[str, str], names: Iterable[str]) -> None:
    for name in names:
        file = folder / name
        if name not in listed:
            raise Damaged(f"{file} is not in the {MANIFEST} of its folder; {REMEDY}")
        if not file.is_file():
            raise Damaged(f"{file} is missing; {REMEDY}")
        if sha256(file) != listed[name]:
            raise Damaged(f"{file} was altered; {REMEDY}")
