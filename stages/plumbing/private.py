"""What is nobody's business: passwords and tokens, and in whose home a file lies."""

import os
import re
from pathlib import Path

HIDDEN = "***"
# scheme://name:password@host, up to the last @ before the path.
USERINFO = re.compile(r"(?<=://)[^/?#\s'\"]+@")
IN_QUERY = re.compile(
    r"([?&][^=&\s]*(?:token|key|secret|passw|sig|auth|credential)[^=&\s]*=)[^&\s'\"]+", re.I
)
OF_THE_HUB = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
IN_HEADER = re.compile(r"\b((?:Bearer|Basic)\s+)[A-Za-z0-9+/=._~-]{8,}")
# An environment variable of such a name holds one; shorter values are words like `true`.
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|ACCESS_KEY|CREDENTIAL", re.I)
SHORTEST = 8
HOMES = re.compile(r"^(?:/(?:var/)?home/[^/]+|/Users/[^/]+|/root)(?=/|$)")


def cleaned(text: str) -> str:
    """`text` without passwords and tokens, the user's home shortened to ~."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST and not os.path.exists(value):
            text = text.replace(value, f"<{name}>")
    text = OF_THE_HUB.sub(HIDDEN, IN_HEADER.sub(rf"\1{HIDDEN}", text))
    return re.sub(home_pattern(), "~", without_login(text)) if home() else text


def without_login(text: str) -> str:
    """The addresses in it without name, password, and what a query holds of tokens."""
    return IN_QUERY.sub(rf"\1{HIDDEN}", USERINFO.sub("", text))


def shortened(path: str) -> str:
    """A path of the user's as it is written into a file: the same whoever's home it lies in."""
    return HOMES.sub("~", path)


def home() -> str:
    """Empty where it is no folder of one's own."""
    try:
        found = str(Path.home())
    except RuntimeError:
        return ""
    return "" if found == "/" else found


def home_pattern() -> str:
    return rf"{re.escape(home())}(?=[/\s'\",:;)\]]|$)"
