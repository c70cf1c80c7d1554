"""serve.py of an export, over loopback: batches, health, and what is refused in which words."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from stages.running.shipped import serve
from stages.running.shipped.predict import Classifier
from stages.running.shipped.serve import LONGEST_REQUEST, MOST_TEXTS
from stages.tasks import mrpc, stsb
from tests.building import build, make_ingredients, ship_traced
from tests.service import ask, post, serving


@pytest.fixture(scope="module")
def export(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    artifact = build("fp32", make_ingredients(tiny_bert, folder), folder / "artifact")
    return ship_traced(artifact, folder / "export")


@pytest.fixture(scope="module")
def port(export: Path) -> Iterator[int]:
    with serving(export) as port:
        yield port


def test_a_batch_is_answered_in_its_order(port: int, export: Path) -> None:
    texts = [("bab cob.", "dib"), ("fub", "é lel"), ("", "mom")] * 20
    status, answers = post(port, {"texts": texts})
    assert status == 200
    labels, shares = zip(*Classifier(export)(texts), strict=True)
    assert [answer["label"] for answer in answers] == list(labels)
    found = [answer["probability"] for answer in answers]
    assert found == pytest.approx(list(shares), abs=1e-6)


def test_a_regression_is_answered_with_scores(export: Path, tmp_path: Path) -> None:
    artifact, task = export.with_name("artifact"), stsb.DATASET.task
    folder = ship_traced(artifact, tmp_path / "export", task)
    texts = [("bab", "dib"), ("fub", "lel")]
    with serving(folder) as port:
        status, answers = post(port, {"texts": texts})
    assert (status, [set(answer) for answer in answers]) == (200, [{"score"}, {"score"}])
    expected = [score for _, score in Classifier(folder)(texts)]
    assert [answer["score"] for answer in answers] == pytest.approx(expected, abs=1e-6)


def test_health_says_what_is_served(port: int) -> None:
    labels = list(mrpc.DATASET.task.labels)
    facts = {"status": "ok", "task": "mrpc", "variant": "fp32", "labels": labels}
    assert ask(port, "GET", "/health") == (200, facts)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no json", "the body is no JSON"),
        (b"\xff", "the body is no JSON"),
        (b"[" * 100_000, "the body is no JSON"),
        (b"[]", 'must be {"texts": [...]}'),
        (b'{"texts": []}', "with at least one text"),
        (b'{"texts": "a text"}', 'must be {"texts": [...]}'),
        (b'{"texts": [["a", "b"], "c"]}', "number 1 is 'c'; this model takes a pair of texts"),
        (b'{"texts": [["a", 5]]}', "number 0 is ['a', 5]"),
        (b'{"texts": [["a", "\\ud800"]]}', "number 0 is ['a', '\\ud800']"),
    ],
)
def test_bad_input_is_one_error_in_json(body: bytes, message: str, port: int) -> None:
    status, answer = ask(port, "POST", "/classify", body)
    assert status == 400
    assert set(answer) == {"error"}
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 404),
        ("POST", "/", {}, 404),
        ("POST", "/classify", {"Content-Length": "-1"}, 411),
        ("POST", "/classify", {"Content-Length": str(LONGEST_REQUEST + 1)}, 413),
        ("POST", "/classify", {"Content-Length": "9" * 5000}, 413),
    ],
)
def test_other_paths_and_too_long_a_body_are_refused_before_it_is_read(
    method: str, path: str, headers: dict[str, str], status: int, port: int
) -> None:
    found, answer = ask(port, method, path, headers=headers)
    assert (found, set(answer)) == (status, {"error"})


def test_too_many_texts_are_refused(port: int) -> None:
    body = json.dumps({"texts": [["a", "b"]] * (MOST_TEXTS + 1)}).encode()
    status, answer = ask(port, "POST", "/classify", body)
    assert (status, answer["error"]) == (413, f"{MOST_TEXTS + 1} texts; a request has 1000 at most")


def test_what_stops_the_start_is_one_line_and_2(port: int, export: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(export, tmp_path / "broken")
    (broken / "model.pt").unlink()
    for folder, asked, message in (
        (broken, "0", "model.pt is missing"),
        (export, str(port), "use"),
    ):
        command = [sys.executable, str(folder / "serve.py"), str(asked)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("serve: ")
        assert message in line


class Echo:
    """Stands for a model."""

    labels = ("a",)

    def __call__(self, texts: list[str]) -> list[tuple[str, float]]:
        return [("a", 1.0) for _ in texts]


@contextmanager
def stand_in() -> Iterator[int]:
    service = serve.Service(("127.0.0.1", 0), serve.handler(Echo(), {"status": "ok"}))
    threading.Thread(target=service.serve_forever, daemon=True).start()
    try:
        yield service.server_port
    finally:
        threading.Thread(target=service.shutdown).start()
        service.server_close()


@pytest.mark.parametrize("start", [b"POST /classify HTTP/1.1\r\nContent-Length: 500\r\n\r\n", b""])
def test_a_client_that_drips_its_body_or_its_header_is_given_up(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "LONGEST_WAIT", 0.3)
    with stand_in() as port, socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
        began = time.monotonic()
        with suppress(OSError):  # the other end is closed
            slow.sendall(start)
            while time.monotonic() - began < 5:
                slow.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 5
        assert post(port, {"texts": ["a text"]})[0] == 200


def test_more_clients_than_threads_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "MOST_CONNECTIONS", 1)
    with stand_in() as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as first:
            first.sendall(b"POST")
            time.sleep(0.1)
            with pytest.raises((OSError, HTTPException)):
                post(port, {"texts": ["a text"]})
        time.sleep(0.1)
        assert post(port, {"texts": ["a text"]})[0] == 200


def test_a_body_that_ends_early_is_said() -> None:
    with stand_in() as port, socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"POST /classify HTTP/1.1\r\nContent-Length: 50\r\n\r\n{}")
        client.shutdown(socket.SHUT_WR)
        assert b"the body ended after 2 of 50 bytes" in client.makefile("rb").read()


@pytest.mark.parametrize("threads", [0, 10**6])
def test_no_threads_and_a_million_are_refused(threads: int, export: Path) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}; it must be 1 to 1024"):
        Classifier(export, threads)
