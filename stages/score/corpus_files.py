"""Which files a corpus is made of: a path, a folder, a glob, or an address that fsspec knows."""

import codecs
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import fsspec

from stages.plumbing.command import UserError, in_short
from stages.plumbing.paths import of_user

CSV, JSON_LINES, PARQUET = "CSV", "JSON lines", "Parquet"
KINDS = {
    ".csv": CSV,
    ".tsv": CSV,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".json": JSON_LINES,
    ".parquet": PARQUET,
}
BUFFER = 1 << 20
# What a store calls the version of a file; the last two of those that know no checksum.
VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "mtime")


@dataclass(frozen=True)
class CorpusFile:
    """One file.

    Attributes:
        address: an absolute path, or as fsspec takes it.
        size: bytes.
        version: sha256 of a local file, what a store calls its version of another.
    """

    address: str
    size: int
    version: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.address).name

    @property
    def ending(self) -> str:
        return PurePosixPath(self.address).suffix.lower()

    @property
    def kind(self) -> str:
        return KINDS[self.ending]

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        filesystem, path = fsspec.core.url_to_fs(self.address)
        with filesystem.open(path, "rb") as file:
            yield file

    @contextmanager
    def lines(self, begin: int = 0) -> Iterator[Iterator[bytes]]:
        """Line by line, from a byte on; a store's own files are slow at that."""
        with self.open() as file, io.BufferedReader(file, BUFFER) as buffered:  # type: ignore
            buffered.seek(begin)
            yield iter(buffered)

    def text_begin(self) -> int:
        """Where its text begins: behind a byte-order mark, which is none of it."""
        mark = codecs.BOM_UTF8
        with self.open() as file:
            return len(mark) if file.read(len(mark)) == mark else 0

    def bytes(self, begin: int, end: int) -> bytes:
        filesystem, path = fsspec.core.url_to_fs(self.address)
        found: bytes = filesystem.cat_file(path, start=begin, end=end)
        return found

    def changed(self) -> bool:
        """Whether its size or version is another one than it was."""
        filesystem, path = fsspec.core.url_to_fs(self.address)
        filesystem.invalidate_cache()  # of what it was told before
        return described(filesystem, path, filesystem.info(path)) != self


def corpus_files(named: str) -> list[CorpusFile]:
    """All of them, in the order of their names.

    Raises:
        UserError: there is none, one cannot be read, or they are not of one known kind.
    """
    address = named if "://" in named else str(of_user(named))
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
        filesystem.invalidate_cache()  # of what it was told before
        found = infos(filesystem, path)
        if not found:
            raise UserError(
                f"'{named}' is no file, no folder with {', '.join(KINDS)} in it and no glob that "
                "fits any; correct it"
            )
        files = [described(filesystem, path, info) for path, info in sorted(found.items())]
        # Many who write shards leave some without a row; an empty Parquet is a damaged one.
        files = [file for file in files if file.size or file.kind == PARQUET]
        if not files:
            raise UserError(f"'{named}' is empty; nothing can be scored")
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"'{named}': {error}; install it into this environment") from None
    except ValueError as error:  # a protocol that fsspec does not know
        raise UserError(f"'{named}': {in_short(error)}") from None
    except Exception as error:  # each store has exceptions of its own
        raise UserError(
            f"'{named}' cannot be read ({in_short(error)}); see to the address, to your "
            "permissions and, of a store, to its credentials"
        ) from None
    kinds = {file.kind: file.name for file in files}
    if len(kinds) > 1:
        raise UserError(
            f"'{named}' holds files of {len(kinds)} kinds ({', '.join(kinds.values())}); score "
            "each kind by itself, with a glob"
        )
    return files


def infos(filesystem: Any, path: str) -> dict[str, dict[str, Any]]:
    """Path -> what its file system says about it."""
    if filesystem.isfile(path):
        if PurePosixPath(path).suffix.lower() not in KINDS:
            raise UserError(
                f"{PurePosixPath(path).name} ends in none of {', '.join(KINDS)}; unpack it, or "
                "give it the ending of what it is"
            )
        return {path: filesystem.info(path)}
    if filesystem.isdir(path):
        found = filesystem.find(path, detail=True)
        inner = {each: each[len(path) :].strip("/").split("/") for each in found}
        found = {
            each: info
            for each, info in found.items()
            if not any(part.startswith((".", "_")) for part in inner[each])
        }
    elif any(character in path for character in "*?["):
        found = filesystem.glob(path, detail=True)
    else:
        return {}
    return {
        each: info
        for each, info in found.items()
        if info["type"] == "file" and PurePosixPath(each).suffix.lower() in KINDS
    }


def described(filesystem: Any, path: str, info: dict[str, Any]) -> CorpusFile:
    size = int(info["size"])
    if "file" in protocols(filesystem):
        with open(path, "rb") as file:
            return CorpusFile(path, size, hashlib.file_digest(file, "sha256").hexdigest())
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), "")
    return CorpusFile(filesystem.unstrip_protocol(path), size, version)


def protocols(filesystem: Any) -> tuple[str, ...]:
    known = filesystem.protocol
    return (known,) if isinstance(known, str) else tuple(known)
