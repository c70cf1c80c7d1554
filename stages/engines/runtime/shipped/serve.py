"""A small service around the classifier beside this file: python serve.py [PORT [THREADS]].

    curl localhost:8000 -d '{"texts": ["a text", ["one", "of a pair"]]}'

answers {"labels": [...], "probabilities": [...], "logits": [[...]]}. Requests run side by side,
each with THREADS of its own. Standard library, numpy and tokenizers.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from classify import Classifier  # type: ignore[import-not-found]

LONGEST_REQUEST = 10_000_000  # bytes


def texts_of(request: bytes) -> list[Any]:
    """Raises ValueError with what is wrong."""
    texts = json.loads(request).get("texts")
    pairs = [tuple(text) if isinstance(text, list) else (text,) for text in texts or []]
    if not pairs or not all(len(pair) in (1, 2) for pair in pairs):
        raise ValueError("'texts' must be a list of texts, or of pairs of texts")
    if not all(isinstance(part, str) for pair in pairs for part in pair):
        raise ValueError("a text must be a string")
    return [pair if len(pair) == 2 else pair[0] for pair in pairs]


def handler(classifier: Classifier) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            try:
                if length > LONGEST_REQUEST:
                    raise ValueError(f"a request has {LONGEST_REQUEST} bytes at most")
                texts = texts_of(self.rfile.read(length))
                logits = classifier.logits(texts)
            except (ValueError, AttributeError, TypeError) as error:
                return self.reply(400, {"error": str(error)})
            answers = classifier.answers(logits)
            self.reply(
                200,
                {
                    "labels": [label for label, _ in answers],
                    "probabilities": [probability for _, probability in answers],
                    "logits": [[float(value) for value in row] for row in logits],
                },
            )

        def reply(self, code: int, answer: dict[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: a line per request costs more than a short text."""

    return Handler


def server(folder: Path, port: int, threads: int) -> ThreadingHTTPServer:
    """Bound to this machine alone; port 0 takes a free one."""
    classifier = Classifier(folder, threads)
    return ThreadingHTTPServer(("127.0.0.1", port), handler(classifier))


if __name__ == "__main__":
    given = [int(number) for number in sys.argv[1:3]]
    port, threads = given + [8000, 1][len(given) :]
    running = server(Path(__file__).parent, port, threads)
    print(f"listening on port {running.server_port}", flush=True)
    running.serve_forever()
