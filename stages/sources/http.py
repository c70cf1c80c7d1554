"""One download: resumed after a break, complete and verified before it gets its name.

Whatever a server sends, it takes neither for ever nor the whole disk.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

from stages.plumbing.command import UserError
from stages.plumbing.files import partial_name, sha256
from stages.sources import Unavailable
from stages.sources.address import host, shown
from stages.sources.cached import fetched_once, forget, keep
from stages.sources.pace import TooSlow, in_time

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 30, 3
HEAD_SECONDS = 10.0  # for an answer that has no body, redirections included
MOST_BYTES = 4 << 30
CHUNK = 1 << 16


class HttpError(Unavailable):
    """The server answered, but with an error."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{host(url)}: HTTP {status} for {shown(url)}")
        self.status = status


class BrokeOff(Exception):
    """The part that arrived is kept; another request may bring the rest."""


def download(
    url: str,
    target: Path,
    pinned_sha256: str = "",
    token: str = "",
    at_most: int = MOST_BYTES,
    session: requests.Session | None = None,
) -> Path:
    """Fetch `url` into `target`, continuing `target.partial` where an earlier try broke off.

    One process at a time; the second finds the file.

    Raises:
        Unavailable: no connection, or the server does not offer the file, sends it too slowly or
            sends more than `at_most` bytes.
        UserError: the server keeps breaking off, or the bytes do not match `pinned_sha256`.
    """
    request = Request(url, token, at_most, session)
    fetched_once(target, lambda: fetch(request, target, pinned_sha256))
    if pinned_sha256 and (request.found or sha256(target)) != pinned_sha256:
        found = request.found or sha256(target)
        forget(target)
        raise wrong_checksum(url, found, pinned_sha256)
    return target


@dataclass
class Request:
    """What is asked for, and how much of it has come in all tries together."""

    url: str
    token: str
    at_most: int
    session: requests.Session | None
    received: int = 0
    given_up: bool = False
    found: str = ""  # its sha256


def fetch(request: Request, target: Path, pinned_sha256: str) -> None:
    """Under another checksum than the pinned one it does not get its name.

    Raises:
        Unavailable, UserError: see `download`.
    """
    where = host(request.url)
    for _ in range(ATTEMPTS):
        start = request.received
        try:
            in_time(
                lambda: fetch_rest(request, target),
                lambda start=start: request.received - start,  # type: ignore[misc]
            )
        except BrokeOff:
            continue
        except TooSlow as slow:
            request.given_up = True  # should its thread ever wake up
            raise Unavailable(f"{where}: sends {slow}") from None
        except OSError as error:
            if not is_of_the_network(error):
                raise
            raise Unavailable(f"{where}: {said(error)}") from None
        partial = partial_name(target)
        if pinned_sha256 not in ("", request.found):
            partial.unlink()
            raise wrong_checksum(request.url, request.found, pinned_sha256)
        keep(partial, target, request.found)
        return
    raise UserError(
        f"{shown(request.url)} broke off {ATTEMPTS} times; the part that arrived is kept, "
        "run again to continue"
    )


def fetch_rest(request: Request, target: Path) -> None:
    """One request for what is still missing of `target.partial`.

    Raises:
        BrokeOff: it is not.
        Unavailable, UserError: see `download`.
        requests.exceptions.RequestException: no connection.
    """
    partial = partial_name(target)
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    if request.token:
        headers["Authorization"] = f"Bearer {request.token}"
    with (request.session or requests).get(
        request.url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
    ) as reply:
        if reply.status_code == 416 or begins_elsewhere(reply, have):
            partial.unlink(missing_ok=True)  # it is not of this file: start over
            raise BrokeOff
        if reply.status_code >= 400:
            raise HttpError(request.url, reply.status_code)
        resumed = reply.status_code == 206
        have = have if resumed else 0
        total = announced(reply, have)
        if total is not None and total > request.at_most:
            partial.unlink(missing_ok=True)
            raise too_large(request)
        digest = hashlib.sha256()
        if have:
            with partial.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(
                total=total, initial=have, unit="B", unit_scale=True, desc=target.name, delay=1
            ) as bar,
        ):
            for chunk in chunks(reply):
                if request.given_up:
                    raise BrokeOff
                have += len(chunk)
                if have > request.at_most:
                    file.truncate(0)
                    raise too_large(request)
                file.write(chunk)
                digest.update(chunk)
                request.received += len(chunk)
                bar.update(len(chunk))
    if request.given_up or (total is not None and have != total):
        raise BrokeOff
    request.found = digest.hexdigest()


def wrong_checksum(url: str, found: str, pinned: str) -> UserError:
    return UserError(
        f"wrong checksum for {shown(url)}: sha256 is {found}, expected {pinned}; the file was "
        "removed, run again to download it anew"
    )


def announced(reply: requests.Response, have: int) -> int | None:
    """Bytes of the whole file, if the server says so."""
    said = reply.headers.get("Content-Length", "")
    is_number = said.isascii() and said.isdigit() and len(said) < 20
    return have + int(said) if is_number else None


def chunks(reply: requests.Response) -> Iterator[bytes]:
    """Raises BrokeOff for a break or a stall."""
    try:
        yield from reply.iter_content(CHUNK)
    except requests.exceptions.RequestException:
        raise BrokeOff from None


def is_of_the_network(error: OSError) -> bool:
    """And not of our own disk. A missing file of certificates is an OSError without a number."""
    return isinstance(error, requests.exceptions.RequestException) or error.errno is None


def said(error: OSError) -> str:
    """In short; what requests says is long, and may repeat a password."""
    is_requests = isinstance(error, requests.exceptions.RequestException)
    return type(error).__name__ if is_requests else str(error)


def begins_elsewhere(reply: requests.Response, have: int) -> bool:
    """Whether it is a part of the file, but not the one behind what we have."""
    said = reply.headers.get("Content-Range", "")
    return reply.status_code == 206 and bool(said) and not said.startswith(f"bytes {have}-")


def too_large(request: Request) -> Unavailable:
    return Unavailable(
        f"{host(request.url)}: {shown(request.url)} has more than the "
        f"{request.at_most / 1e9:.3g} GB that such a file may have"
    )


def head(url: str, token: str = "") -> requests.Response:
    """The answer to a question without a body.

    Raises:
        requests.exceptions.RequestException: there is none within a few seconds.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        return in_time(
            lambda: requests.head(
                url, headers=headers, timeout=CONNECT_SECONDS, allow_redirects=True
            ),
            received=lambda: 0,
            grace=HEAD_SECONDS,
        )
    except TooSlow:
        raise requests.exceptions.ReadTimeout from None
    except OSError as error:
        if isinstance(error, requests.exceptions.RequestException):
            raise
        raise requests.exceptions.SSLError(str(error)) from None


def answers(url: str) -> bool:
    """Whether it is there; False where nothing answers."""
    try:
        return head(url).status_code < 400
    except requests.exceptions.RequestException:
        return False
