"""What others wrote, on a terminal: a stage's lines hold class names, texts and paths."""

import re
from typing import Any, TextIO

# Of C0 and C1 all but newline and tab; what turns the direction of writing; other ends of lines.
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]")


def on_terminal(text: str) -> str:
    """No character moves the cursor, colours what follows or hides what stands there."""
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class Terminal:
    """A stream that writes `on_terminal`; bars, which return to the line's start, go to stderr."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(on_terminal(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
