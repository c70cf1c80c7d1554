"""A local server that stands in for the hub and the official sites."""

import hashlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server:
    """Serves `files`, refuses what is in `refused`, can break off, remembers requests.

    Attributes:
        files: path -> bytes.
        refused: beginning of a path -> status and the hub's X-Error-Code.
        break_off_after, stall_after: bytes, one entry per GET of a file that is `fragile`.
        fragile: end of the paths that break off or stall.
        ranges: the Range header of each GET of a file, None where it had none.
        asked: method and path of each request.
        tokens: Authorization header of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.break_off_after: list[int] = []
        self.stall_after: list[int] = []
        self.fragile = ""
        self.ranges: list[str | None] = []
        self.asked: list[str] = []
        self.tokens: list[str | None] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                content = self.look_up()
                if content is not None:
                    self.head(200, content, len(content))

            def do_GET(self) -> None:
                content = self.look_up()
                if content is None:
                    return
                outer.ranges.append(self.headers.get("Range"))
                start = 0
                if wanted := self.headers.get("Range"):
                    start = int(wanted.removeprefix("bytes=").split("-")[0])
                    if start >= len(content):
                        self.send_error(416)
                        return
                rest = content[start:]
                self.head(206 if start else 200, content, len(rest))
                if self.path.endswith(outer.fragile):
                    if outer.break_off_after:
                        rest = rest[: outer.break_off_after.pop(0)]
                        self.close_connection = True
                    if outer.stall_after:
                        self.wfile.write(rest[: outer.stall_after.pop(0)])
                        threading.Event().wait(1)  # time.sleep may be switched off
                        return
                self.wfile.write(rest)

            def look_up(self) -> bytes | None:
                """The content; None after an answer that refuses it."""
                outer.asked.append(f"{self.command} {self.path}")
                outer.tokens.append(self.headers.get("Authorization"))
                status, code = next(
                    (why for start, why in outer.refused.items() if self.path.startswith(start)),
                    (404, ""),
                )
                path = self.path.split("?")[0]
                if code or path not in outer.files:
                    self.send_response(status)
                    if code:
                        self.send_header("X-Error-Code", code)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return None
                return outer.files[path]

            def head(self, status: int, content: bytes, length: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(length))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Accept-Ranges", "bytes")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def add_model(self, name: str, folder: Path) -> None:
        """Offer the files of `folder` as the hub does: at a commit, and listed by its API."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        contents = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        for file, content in contents.items():
            for revision in ("main", COMMIT):
                self.files[f"/{name}/resolve/{revision}/{file}"] = content
        tree = [
            {"type": "file", "path": file, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
            for file, c in contents.items()
        ]
        info = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": f} for f in contents]}
        self.files[f"/api/models/{name}/revision/main"] = json.dumps(info).encode()
        self.files[f"/api/models/{name}/tree/{COMMIT}"] = json.dumps(tree).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def black_hole() -> Iterator[str]:
    """The address of a server that nobody can connect to: packets vanish, as behind a firewall."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # fill the queue, which nobody empties
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            for one in waiting:
                one.close()


@contextmanager
def silence() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(32)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def talking(*parts: bytes, every: float = 0) -> Iterator[str]:
    """The address of a server that answers whatever is asked with `parts`, the last for ever."""

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            for part in chain(parts, repeat(parts[-1])):
                connection.sendall(part)
                time.sleep(every)

    def listen() -> None:
        with suppress(OSError):  # closed
            while True:
                connection = listening.accept()[0]
                threading.Thread(target=talk, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
