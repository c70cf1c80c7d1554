"""Reading what a stage, git or the user left as JSON. Whatever is wrong with a file is said."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stages.plumbing import paths
from stages.plumbing.command import UserError
from stages.plumbing.conflict import refuse_conflict
from stages.plumbing.faults import remade

Model = TypeVar("Model", bound=BaseModel)
KINDS: dict[type, str] = {dict: "object", list: "list"}  # what JSON calls them


class Facts(dict[str, Any]):
    """An object in a file: a key that it lacks is a fault of the file, not of who asks."""

    path = Path()

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.path} has no '{key}'; {restored(self.path)}")


def facts_of(pairs: list[tuple[str, Any]], path: Path) -> Facts:
    facts = Facts(pairs)
    facts.path = path
    return facts


def read_json(path: Path, kind: type = dict) -> Any:
    """What stands in the file, an object unless another `kind` is named.

    Raises:
        UserError: no such file, a merge conflict, no UTF-8, no JSON, or another kind; also later,
            where a key is asked for that it lacks.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        stage = paths.stage_of(path)
        where = remade(stage) if stage else "put it there, or name another place"
        raise UserError(f"{path} is missing; {where}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); {restored(path)}") from None
    refuse_conflict(path, text, "'dvc repro'" if paths.stage_of(path) else "run again")
    try:
        found = json.loads(text, object_pairs_hook=lambda pairs: facts_of(pairs, path))
    except json.JSONDecodeError as error:
        where = f"{path} line {error.lineno}"
        raise UserError(f"{where} is not valid JSON ({error.msg}); {restored(path)}") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; {restored(path)}") from None
    if not isinstance(found, kind):
        raise UserError(f"{path} holds no {KINDS[kind]}; {restored(path)}")
    return found


def read_as(model: type[Model], path: Path) -> Model:
    """The same as one of our types.

    Raises:
        UserError: see `read_json`, or a value is missing or of another kind.
    """
    return as_model(model, read_json(path), path)


def as_model(model: type[Model], found: Any, path: Path) -> Model:
    """What was read of `path`. Raises UserError if a value is missing or of another kind."""
    try:
        return model.model_validate(found)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise UserError(f"{path}: '{key}': {problem['msg']}; {restored(path)}") from None


def restored(path: Path) -> str:
    stage = paths.stage_of(path)
    if stage == "environment":  # which reads what it wrote the last time
        return "remove it; 'dvc repro' then writes it anew"
    return remade(stage) if stage else "correct it, or get it anew"
