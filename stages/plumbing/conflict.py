"""What git leaves in a file that two branches changed: it is no YAML and no JSON any more."""

from pathlib import Path

from stages.plumbing.command import UserError

MARK = "<<<<<<< "


def refuse_conflict(path: Path, text: str, then: str = "run again") -> None:
    """Raises UserError where a conflict stands in the file; names its first line."""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith(MARK):
            raise UserError(
                f"{path} line {number} holds a merge conflict: take one side of it, as with "
                f"'git checkout --ours {path}' or '--theirs', then {then}"
            )
