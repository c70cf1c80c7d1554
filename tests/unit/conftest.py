"""A stand-in for everything that is downloaded, other CPUs, our int8 kernels one by one."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from stages.model import cpu
from stages.plumbing.command import UserError
from stages.variants.int8_fast.kernel import dispatch, operators
from tests.scoring import ship_integers
from tests.stand_in_hub import Server

SITE = "https://dl.fbaipublicfiles.com"
OnCpu = Callable[..., None]


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
    close_soon(server)


@pytest.fixture(scope="session")
def integer_exports(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ibert, whose answers depend on nothing but the text: of single texts and of pairs."""
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    return ship_integers(tiny_bert, tmp_path_factory.mktemp("exports"))


def close_soon(server: Server) -> None:
    """It takes half a second, for which no test need wait."""
    threading.Thread(target=server.close).start()


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> OnCpu:
    """Pretend that the CPU has just these extensions of its instruction set."""

    def pretend(*flags: str, machine: str = "x86_64") -> None:
        monkeypatch.setattr(cpu, "flags", lambda: frozenset(flags))
        monkeypatch.setattr("platform.machine", lambda: machine)

    return pretend


@pytest.fixture(params=["avx2", "vnni", "amx"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each of our kernels that this CPU has the instructions for, forced."""
    monkeypatch.setenv(dispatch.FORCED, request.param)
    dispatch.choose_kernel.cache_clear()
    try:
        chosen = dispatch.choose_kernel()
        operators.load()
        yield chosen
    except UserError as reason:
        pytest.skip(str(reason))
    finally:
        dispatch.choose_kernel.cache_clear()
