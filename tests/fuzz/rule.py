"""One input against the rule; what breaks it, in words that are the same for the same fault."""

import resource
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from tests.fuzz.targets import Target

ROOT = Path(__file__).parents[2]
SLOW_S = 5.0
MOST_MEMORY_MB = 1000.0  # more than before it


def broken_rule(target: Target, data: bytes) -> str:
    """Empty if the target keeps the rule with these bytes."""
    target.prepare()
    before, started = peak_mb(), time.monotonic()
    found = ""
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            target.read(data)
    except target.allowed:
        pass
    except (Exception, SystemExit) as error:  # MemoryError and RecursionError are among them
        found = f"{type(error).__name__} in {place_of(error)}"
    if (seconds := time.monotonic() - started) > SLOW_S:
        found = found or f"takes over {SLOW_S:g} s"
        print(f"{seconds:.1f} s")
    if peak_mb() - before > MOST_MEMORY_MB:
        found = found or f"takes over {MOST_MEMORY_MB:g} MB"
    return found


def place_of(error: BaseException) -> str:
    """The innermost line of this project's own code that it came from."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(str(ROOT / "stages"))
    ]
    if not own:
        return "the fuzzer itself"
    return f"{Path(own[-1].filename).relative_to(ROOT).as_posix()}, {own[-1].name}"


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
