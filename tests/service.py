"""The service of an export, started as its card says, and asked over loopback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any


@contextmanager
def listening(
    command: list[str], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[int]:
    """The port that the service says it listens on, started in `folder` by `command`."""
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    )
    try:
        assert child.stdout is not None
        yield int(child.stdout.readline().split()[-1])
    finally:
        child.kill()
        child.communicate()


def serving(folder: Path) -> AbstractContextManager[int]:
    """`listening` with the interpreter of the tests and a free port."""
    return listening([sys.executable, "serve.py", "0"], folder)


def ask(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and what the body says, which is always JSON."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, headers or {})
    reply = connection.getresponse()
    assert reply.headers["Content-Type"] == "application/json"
    answer = reply.status, json.loads(reply.read())
    connection.close()
    return answer


def post(port: int, request: object) -> tuple[int, Any]:
    return ask(port, "POST", "/classify", json.dumps(request).encode())
