"""YAML as DVC reads it: version 1.2, where yes and no are words, and no key stands twice."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stages.plumbing.command import UserError
from stages.plumbing.conflict import refuse_conflict

DEEPEST = 100


def read_yaml(path: Path) -> Any:
    """What stands in it.

    Raises:
        UserError: it is no valid YAML, holds a merge conflict, says that it is of another version,
            or a key stands there twice; names the line.
        FileNotFoundError: there is no such file.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); save it as that") from None
    refuse_conflict(path, text)
    for number, directive in enumerate(text.splitlines(), start=1):
        if directive.startswith("%"):  # in 1.1 010 is 8 and yes is true, for some of its readers
            raise UserError(
                f"{path} line {number}: take out the directive '{directive}'; the file is YAML 1.2"
            )
    yaml = YAML(typ="safe")  # as DVC reads it
    try:
        if is_deep(yaml.parse(text)):  # of which its C code would die
            raise UserError(f"{path} is nested too deeply; correct it")
        return yaml.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        key = text.splitlines()[line - 1].strip().split(":")[0]
        raise UserError(
            f"{path} line {line}: the key '{key}' stands there a second time; keep one of the two, "
            "or put the lines below it under the first"
        ) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path} line {line} is not valid YAML: {error.problem}") from None
    except (YAMLError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} is not valid YAML: {reason}") from None


def is_deep(events: Iterable[Any]) -> bool:
    """Whether what begins and ends, as YAML's events tell, is nested deeper than any setting."""
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            return True
    return False
