"""Where the user's pip gets packages: its environment variables and its configuration files."""

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import requests

from stages.sources.address import host

PYPI = "https://pypi.org/simple"
PIP_SECONDS = 60
# As they rank in pip for `pip download`; PIP_<KEY> ranks above both.
SECTIONS = ("global", "download")


@dataclass(frozen=True)
class PipSettings:
    """What of pip's settings says where packages are, and how one gets there.

    Attributes:
        indexes: addresses that `<project>/` is put behind, in their order.
        find_links: folders, files and pages with links to packages.
        trusted: hosts whose certificate is not checked.
    """

    indexes: tuple[str, ...]
    find_links: tuple[str, ...]
    certificates: str = ""
    client_certificate: str = ""
    proxy: str = ""
    trusted: tuple[str, ...] = ()

    def session(self, url: str) -> requests.Session:
        """What asks `url`; names and passwords come from the address or from ~/.netrc."""
        session = requests.Session()
        session.headers["User-Agent"] = "bertquant"
        if self.certificates:
            session.verify = os.path.expanduser(self.certificates)
        if host(url) in self.trusted or host(url).rpartition(":")[0] in self.trusted:
            session.verify = False
        if self.client_certificate:
            session.cert = os.path.expanduser(self.client_certificate)
        if self.proxy:
            session.proxies = {"http": self.proxy, "https": self.proxy}
        return session


def pip_settings() -> PipSettings:
    return settings_of(configured(), os.environ)


def settings_of(files: Mapping[str, str], environment: Mapping[str, str]) -> PipSettings:
    """Args:
    files: `section.key` -> value, as pip's configuration files have it.
    """

    def said(key: str) -> str:
        values = [files.get(f"{section}.{key}", "") for section in SECTIONS]
        values.append(environment.get(f"PIP_{key.upper().replace('-', '_')}", ""))
        return next((value for value in reversed(values) if value), "")

    indexes = [said("index-url") or PYPI, *said("extra-index-url").split()]
    none = said("no-index").lower() in ("1", "true", "yes", "y", "on", "t")
    return PipSettings(
        indexes=() if none else tuple(url.rstrip("/") for url in indexes),
        find_links=tuple(said("find-links").split()),
        certificates=said("cert"),
        client_certificate=said("client-cert"),
        proxy=said("proxy"),
        trusted=tuple(said("trusted-host").split()),
    )


@cache
def configured() -> dict[str, str]:
    """`section.key` -> value, of all configuration files; nothing where there is no pip."""
    found: dict[str, str] = {}
    for line in pip_config("list").splitlines():
        key, _, value = line.partition("=")
        if key.startswith(SECTIONS):
            text = str(ast.literal_eval(value))
            if found.setdefault(key, text) != text:  # of two files; which one counts, pip knows
                found[key] = pip_config("get", key).rstrip("\n")
    return found


def pip_config(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "config", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
