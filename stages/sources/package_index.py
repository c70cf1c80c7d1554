"""Where a file of a package lies, by the pages of an index: read as PEP 503 has them, and not run.

pip itself would not do: to download a source archive it runs the archive's own build, with whatever
version of its build tools is the newest.
"""

import re
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit
from urllib.request import url2pathname

from stages.sources import Unavailable
from stages.sources.address import shown
from stages.sources.http import HttpError, download
from stages.sources.pip_settings import PipSettings

MOST_BYTES_OF_PAGE = 100 << 20


class Links(HTMLParser):
    """The addresses that a page links to."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base, self.found = base, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        target = dict(attrs).get("href")
        if tag == "base" and target:
            self.base = urljoin(self.base, target)
        if tag == "a" and target:
            self.found.append(urljoin(self.base, target.strip()))


def places(project: str, filename: str, settings: PipSettings) -> Iterator[tuple[str, str]]:
    """Where the file is offered: an address, also a file://, and why it is none, where it is "".

    In pip's order: what find-links names, then index-url and extra-index-url.
    """
    pages = [
        *settings.find_links,
        *(f"{index}/{normalized(project)}/" for index in settings.indexes),
    ]
    for page in pages:
        try:
            for link in links(as_url(page), settings):
                if name_of(link) == filename:
                    yield with_login_of(as_url(page), link), ""
        except Unavailable as error:
            yield "", str(error)
        except ValueError as error:  # of urllib, for what is no address
            yield "", f"{shown(page)} is no address: {error}"


def normalized(project: str) -> str:
    return re.sub(r"[-_.]+", "-", project).lower()


def as_url(place: str) -> str:
    """find-links may also be the path of a folder or file."""
    is_url = urlsplit(place).scheme in ("http", "https", "file")
    return place if is_url else Path(place).expanduser().absolute().as_uri()


def path_of(url: str) -> Path | None:
    """Of a file:// address."""
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def name_of(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def links(page: str, settings: PipSettings) -> list[str]:
    """What a page links to; of a folder without a page, its files.

    Raises:
        Unavailable: nothing there can be read.
    """
    path = path_of(page)
    if path is not None and path.is_dir():
        if not (path / "index.html").is_file():
            return [file.absolute().as_uri() for file in path.iterdir()]
        page, path = page.rstrip("/") + "/", path / "index.html"
    if name_of(page).endswith((".whl", ".tar.gz", ".zip")):
        return [page]
    try:
        if path is not None:
            text = path.read_text(encoding="utf-8", errors="replace")
        else:
            text = fetched_page(page, settings)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    found = Links(page)
    found.feed(text)
    return found.found


def fetched_page(url: str, settings: PipSettings) -> str:
    """Raises Unavailable; a page that is not there is one without links."""
    session = settings.session(url)
    session.headers["Accept"] = "application/vnd.pypi.simple.v1+html, text/html;q=0.5"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "package index"
        try:
            download(url, target, at_most=MOST_BYTES_OF_PAGE, session=session)
        except HttpError as error:
            if error.status == 404:
                return ""
            raise
        return target.read_text(encoding="utf-8", errors="replace")


def with_login_of(page: str, link: str) -> str:
    """A link of the same server, which needs the name and the password that the page needed."""
    ours, theirs = urlsplit(page), urlsplit(link)
    login, _, where = ours.netloc.rpartition("@")
    if not login or (ours.scheme, where) != (theirs.scheme, theirs.netloc):
        return link
    return urlunsplit(theirs._replace(netloc=ours.netloc))
