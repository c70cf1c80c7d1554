"""Addresses as they are shown: whole, but without the password that some of them hold."""

import os
from urllib.parse import urlsplit

from stages.plumbing.command import UserError

HUB = "https://huggingface.co"


def shown(url: str) -> str:
    """Without name, password and query, which may be a key to the file."""
    scheme, mark, rest = url.partition("?")[0].partition("#")[0].partition("://")
    return f"{scheme}://{host(url)}{rest[len(rest.partition('/')[0]) :]}" if mark else scheme


def host(url: str) -> str:
    """And its port, if it names one. Also of what is no address at all."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def hub() -> str:
    """The Hugging Face hub, or what HF_ENDPOINT names instead.

    Raises:
        UserError: that is no address, or holds a password; the message does not repeat it.
    """
    named = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    if not named:
        return HUB
    try:
        parts = urlsplit(named)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises ValueError where it is none
    except ValueError:
        is_address, parts = False, None
    if "@" in named:
        raise UserError(
            "HF_ENDPOINT holds a name or a password ('...@...'), which messages and logs would "
            f"repeat; leave it at the address, as in {HUB}, and set HF_TOKEN to a token"
        )
    if not is_address or parts is None or parts.query or parts.fragment:
        raise UserError(
            f"HF_ENDPOINT is '{named.partition('?')[0][:80]}', which is no address of a hub; it "
            f"must begin with https:// (or http://) and a host, as in {HUB}, or be unset"
        )
    return named
