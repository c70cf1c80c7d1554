"""One stage, one file: `python -m stages.<stage> --task <task> ...`, run by DVC from dvc.yaml."""

import sys
from importlib.util import find_spec
from types import TracebackType

# Every stage passes here before it imports anything else. Looking for requirements takes
# milliseconds, importing them seconds.
MISSING = [name for name in ("pydantic", "torch", "transformers") if find_spec(name) is None]
if MISSING:
    print(
        f"stages: {sys.executable or 'this Python'} lacks {', '.join(MISSING)}: activate the "
        "project's environment with 'source .venv/bin/activate' ('make .venv/ready' builds it) "
        "and run again",
        file=sys.stderr,
    )
    raise SystemExit(2)


def in_one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Ctrl-C while libraries are still imported; later, stages/plumbing/command.py answers it."""
    if issubclass(kind, KeyboardInterrupt):
        print("stages: stopped by Ctrl-C before anything was done", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = in_one_line
