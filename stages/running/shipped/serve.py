"""A small service around predict.py beside this file: python serve.py [PORT [THREADS [HOST]]].

    curl localhost:8000/classify -d '{"texts": ["a text", "another"]}'

answers [{"label": ..., "probability": ...}, ...], of a regression [{"score": ...}, ...]; of a pair,
["one", "two"] is a text. GET /health says what is served. What is wrong with a request is said as
{"error": ...}. Requests run side by side, each with THREADS of its own. Standard library alone.
"""

import io
import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SocketIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predict import Classifier  # type: ignore[import-not-found]

LONGEST_REQUEST = 10_000_000  # bytes
MOST_TEXTS = 1000  # of one request, which others may wait for
PATIENCE = 30  # seconds without a byte, after which a connection is given up
LONGEST_WAIT = 120  # seconds until a request has come as a whole, be it byte by byte
MOST_CONNECTIONS = 256  # at once: each has a thread


class Refused(Exception):
    """A request that is not answered: HTTP status, and what is wrong."""


def texts_of(body: bytes) -> list[Any]:
    """Raises Refused."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from None
    texts = request.get("texts") if isinstance(request, dict) else None
    if not isinstance(texts, list) or not texts:
        raise Refused(400, 'the body must be {"texts": [...]}, with at least one text')
    if len(texts) > MOST_TEXTS:
        raise Refused(413, f"{len(texts)} texts; a request has {MOST_TEXTS} at most")
    return texts


def answered(classifier: "Classifier", body: bytes) -> list[dict[str, Any]]:
    """Raises Refused."""
    texts = texts_of(body)
    try:
        answers = classifier(texts)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    if not classifier.labels:
        return [{"score": score} for _, score in answers]
    return [{"label": label, "probability": probability} for label, probability in answers]


class Until(SocketIO):
    """Reads from a connection until a moment; the socket's own timeout begins anew at each byte."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        super().__init__(connection, "rb")
        self.connection, self.end = connection, time.monotonic() + seconds

    def readinto(self, buffer: Any) -> int | None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(min(left, PATIENCE))
        return super().readinto(buffer)


def handler(classifier: "Classifier", health: dict[str, Any]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def setup(self) -> None:
            super().setup()
            self.rfile = io.BufferedReader(Until(self.connection, LONGEST_WAIT))

        def do_GET(self) -> None:
            if self.path == "/health":
                return self.reply(200, health)
            return self.reply(404, {"error": f"no {self.path}: GET /health, POST /classify"})

        def do_POST(self) -> None:
            try:
                self.reply(200, answered(classifier, self.body()))
            except Refused as refused:
                code, reason = refused.args
                self.reply(code, {"error": reason})

        def body(self) -> bytes:
            """Raises Refused."""
            if self.path != "/classify":
                raise Refused(404, f"no {self.path}: GET /health, POST /classify")
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()):
                raise Refused(411, "the header Content-Length must say how many bytes follow")
            if len(length) > len(str(LONGEST_REQUEST)) or int(length) > LONGEST_REQUEST:
                raise Refused(413, f"{length} bytes; a request has {LONGEST_REQUEST} at most")
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                raise Refused(400, f"the body ended after {len(body)} of {length} bytes")
            return body

        def reply(self, code: int, answer: Any) -> None:
            body = json.dumps(answer, ensure_ascii=False).encode()
            self.connection.settimeout(PATIENCE)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a line per request costs more than a short text."""

    return Handler


class Service(ThreadingHTTPServer):
    """Gives up a connection beyond MOST_CONNECTIONS at once, before it takes a thread."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.free.release()


def server(folder: Path, port: int, threads: int, host: str) -> Service:
    """Ready to serve; port 0 takes a free one. Raises predict.CannotLoad."""
    from predict import Classifier, read_manifest

    manifest = read_manifest(folder)
    health = {"status": "ok", **{key: manifest[key] for key in ("task", "variant", "labels")}}
    return Service((host, port), handler(Classifier(folder, threads), health))


def main() -> None:
    import argparse

    from predict import CannotLoad

    parser = argparse.ArgumentParser(description="Serve POST /classify and GET /health.")
    parser.add_argument("port", type=int, nargs="?", default=8000, help="0: a free one")
    parser.add_argument("threads", type=int, nargs="?", default=1, help="of each request")
    parser.add_argument("host", nargs="?", default="127.0.0.1", help="0.0.0.0: for other machines")
    given = parser.parse_args()
    try:
        running = server(Path(__file__).parent, given.port, given.threads, given.host)
    except (CannotLoad, ValueError, OSError, OverflowError) as error:
        print(f"serve: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"listening on {given.host}, port {running.server_port}", flush=True)
    running.serve_forever()


if __name__ == "__main__":
    main()
