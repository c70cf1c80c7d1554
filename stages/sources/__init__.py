"""Where bytes come from: a mirror folder, the hub, an official site, a package on PyPI."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from stages.plumbing.command import UserError
from stages.plumbing.paths import of_user

T = TypeVar("T")


class Unavailable(Exception):
    """A source that cannot be reached or does not offer the thing: the next one may be tried."""


def cache_folder() -> Path:
    """Downloads outlive the stage that made them, so that a killed one resumes."""
    base = os.environ.get("BERTQUANT_CACHE")
    if base:
        return of_user(base)
    return of_user(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "bertquant"


def first_available(
    what: str, sources: Mapping[str, Callable[[], T]], order: list[str], ways_out: str
) -> T:
    """What the first of `sources` gives that is available, tried in `order`.

    Raises:
        UserError: none is; the message says why, for each, and names `ways_out`.
    """
    reasons = []
    for name in order:
        if name not in sources:
            reasons.append(f"{name} (has no {what})")
            continue
        try:
            return sources[name]()
        except Unavailable as error:
            reasons.append(f"{name} ({error})")
    raise UserError(f"no source of {what} could be reached: {'; '.join(reasons)}. {ways_out}")
