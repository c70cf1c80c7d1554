"""One download: resumed after a break, complete and verified before it gets its name."""

import os
from pathlib import Path

import requests
from tqdm import tqdm

from stages.plumbing.command import UserError
from stages.plumbing.files import partial_name, sha256
from stages.sources import Unavailable
from stages.sources.cached import fetched_once, forget, keep

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 3, 30, 3


class HttpError(Unavailable):
    """The server answered, but with an error."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{host(url)}: HTTP {status} for {url}")
        self.status = status


def download(url: str, target: Path, pinned_sha256: str = "", token: str = "") -> Path:
    """Fetch `url` into `target`, continuing `target.partial` where an earlier try broke off.

    One process at a time; the second finds the file.

    Raises:
        Unavailable: no connection, or the server does not offer the file.
        UserError: the server keeps breaking off, or the bytes do not match `pinned_sha256`.
    """
    fetched_once(target, lambda: fetch(url, target, token))
    if pinned_sha256 and sha256(target) != pinned_sha256:
        actual = sha256(target)
        forget(target)
        raise UserError(
            f"wrong checksum for {url}: sha256 is {actual}, expected {pinned_sha256}; "
            "the file was removed, run again to download it anew"
        )
    return target


def fetch(url: str, target: Path, token: str) -> None:
    """Raises Unavailable and UserError, see `download`."""
    for _ in range(ATTEMPTS):
        try:
            if fetch_rest(url, target, token):
                return
        except requests.exceptions.RequestException as error:
            raise Unavailable(f"{host(url)}: {type(error).__name__}") from None
    raise UserError(
        f"{url} broke off {ATTEMPTS} times; the part that arrived is kept, run again to continue"
    )


def fetch_rest(url: str, target: Path, token: str) -> bool:
    """One request for what is still missing. True once `target` is complete and in place."""
    partial = partial_name(target)
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    timeout = (CONNECT_SECONDS, READ_SECONDS)
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as reply:
        if reply.status_code == 416:  # the part is longer than the file: not ours, start over
            partial.unlink()
            return False
        if reply.status_code >= 400:
            raise HttpError(url, reply.status_code)
        resumed = reply.status_code == 206
        have = have if resumed else 0
        missing = int(reply.headers.get("Content-Length", -1))
        total = have + missing if missing >= 0 else None
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=target.name) as bar,
        ):
            try:
                for chunk in reply.iter_content(1 << 16):
                    file.write(chunk)
                    bar.update(len(chunk))
            except requests.exceptions.RequestException:  # a break or a stall; the part is kept
                return False
    if total is not None and partial.stat().st_size != total:
        return False
    keep(partial, target)
    return True


def status(url: str) -> int | None:
    """The HTTP status of `url`, or None where nothing answers within a few seconds."""
    try:
        return requests.head(url, timeout=CONNECT_SECONDS, allow_redirects=True).status_code
    except requests.exceptions.RequestException:
        return None


def answers(url: str) -> bool:
    return (status(url) or 404) < 400


def hub() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def host(url: str) -> str:
    return url.split("/")[2]
