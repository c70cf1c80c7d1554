"""Where bytes come from: a mirror folder, the hub, an official site, a package on PyPI."""

import os
from pathlib import Path


class Unavailable(Exception):
    """A source that cannot be reached or does not offer the thing: the next one may be tried."""


def cache_folder() -> Path:
    """Downloads outlive the stage that made them, so that a killed one resumes."""
    base = os.environ.get("BERTQUANT_CACHE")
    if base:
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "bertquant"
