"""Reading a zip that somebody else made: only what is named, and never more than was expected."""

import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.plumbing.command import UserError
from stages.plumbing.faults import of_the_machine

MOST_MEMBERS = 100_000
MOST_UNPACKED = 8 << 30
# Tables of text become a tenth, at best a hundredth; only what is made to burst goes beyond.
MOST_RATIO = 200
SMALL = 100 << 20  # bytes; below that a ratio harms nobody

# What zipfile raises for bytes that are no zip, or not all of one, or of a kind that it cannot
# read; some of it from the depths of what unpacks.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
    KeyError,
)


@contextmanager
def opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    """Raises UserError also for what goes wrong while it is open."""
    try:
        with zipfile.ZipFile(archive) as file:
            check(archive, file.infolist())
            yield file
    except (*DAMAGED, OSError) as error:  # a seek to where no file can be
        if of_the_machine(error):
            raise
        said = str(error).strip("'\"") or type(error).__name__
        raise UserError(f"{archive.name} is not a readable zip ({said})") from None


def check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raises UserError where the whole is more than such a file may hold."""
    unpacked = sum(member.file_size for member in members)
    packed = archive.stat().st_size
    if len(members) > MOST_MEMBERS:
        raise UserError(f"{archive.name} holds {len(members)} files; {MOST_MEMBERS} are allowed")
    if unpacked > MOST_UNPACKED or unpacked > max(SMALL, MOST_RATIO * packed):
        raise UserError(
            f"{archive.name} of {packed / 1e6:.1f} MB would unpack to {unpacked / 1e6:.1f} MB; "
            f"{MOST_UNPACKED / 1e9:.0f} GB and {MOST_RATIO} times its size are allowed"
        )


def copy_member(file: zipfile.ZipFile, name: str, target: Path) -> None:
    """Its bytes, under the name of `target`: where the member itself would lie counts nothing.

    Raises:
        UserError: it is encrypted or a link.
        KeyError: there is none, which `opened` puts into words.
    """
    member = file.getinfo(name)
    where = Path(file.filename or "").name
    if member.flag_bits & 1:
        raise UserError(f"{where} is not readable: {name} in it is encrypted")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"{where} is not readable: {name} in it is a link, not a file")
    with file.open(member) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)  # no more than the size that was checked: zipfile stops


def copy_all(
    archive: Path, folder: Path, inside: str, wanted: Callable[[str], bool] = lambda name: True
) -> None:
    """Copy the files that lie directly in the archive's folder `inside` into `folder`.

    Raises:
        UserError: it cannot be read.
    """
    with opened(archive) as file:
        for name in file.namelist():
            parent, _, base = name.rpartition("/")
            if parent == inside and base not in ("", ".", "..") and wanted(base):
                copy_member(file, name, folder / base)
