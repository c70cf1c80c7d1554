"""A stand-in for everything that is downloaded."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.stand_in_hub import Server

SITE = "https://dl.fbaipublicfiles.com"


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The hub and GLUE's official site on this machine, and an empty cache."""
    server = Server()
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("BERTQUANT_CACHE", str(tmp_path / "cache"))
    for method in ("get", "head"):
        real = getattr(requests, method)
        monkeypatch.setattr(
            requests, method, lambda url, real=real, **o: real(url.replace(SITE, server.url), **o)
        )
    yield server
    server.server.shutdown()
    server.server.server_close()
