"""Which source files a module is made of, found from its imports."""

import ast
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Can stop a stage (missing libraries, arguments, errors, safe writing), never change its result.
NO_RESULT = ("stages/__init__.py", "stages/plumbing/", "stages/settings/")
NATIVE = (".h", ".c", ".cpp", ".j2", ".css", ".js")


def files_of(modules: Iterable[str]) -> list[str]:
    """All files of this project that these modules need, sorted: paths from its root.

    Imports inside of functions count, those for type checkers do not. A module that is named as a
    string counts too (`runs_on="stages.engines..."`, `python -m stages...`). A folder that also
    holds sources in another language, such as a kernel's, counts as a whole; so do folders in it
    that hold such alone. So do the packages around a module, unless they hold a docstring alone.
    """
    needed: set[str] = set()
    waiting = [path for name in modules for path in files_named(name)]
    while waiting:
        path = waiting.pop()
        if path in needed or path.startswith(NO_RESULT):
            continue
        needed.add(path)
        waiting += [file for name in modules_in(path) for file in files_named(name)]
        waiting += packages_of(path)
        folder = (ROOT / path).parent
        native = native_of(folder)
        needed |= {one.relative_to(ROOT).as_posix() for one in native}
        if any(one.parent == folder for one in native):
            waiting += [one.relative_to(ROOT).as_posix() for one in folder.glob("*.py")]
    return sorted(needed)


def checksum_of(modules: Iterable[str]) -> str:
    """Changes when any of their files does."""
    digest = hashlib.sha256()
    for path in files_of(modules):
        digest.update(f"{path}\0".encode() + (ROOT / path).read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def native_of(folder: Path) -> list[Path]:
    """Sources in another language in `folder`, and in those below it that hold no Python."""
    found = []
    for path in folder.iterdir():
        if path.suffix in NATIVE:
            found.append(path)
        elif path.is_dir() and not any(path.glob("*.py")):
            found += native_of(path)
    return found


@cache
def modules_in(path: str) -> frozenset[str]:
    """Names that the file imports or names; some of them are attributes and no modules."""
    return frozenset(names_in(ast.parse((ROOT / path).read_text(encoding="utf-8"))))


def names_in(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and re.fullmatch(r"stages(\.\w+)+", str(node.value)):
        yield str(node.value)
    for child in ast.iter_child_nodes(node):
        yield from names_in(child)


@cache
def files_named(module: str) -> tuple[str, ...]:
    """The file of a module of this project; of a package its `__init__.py`."""
    if not module.startswith("stages."):
        return ()
    base = ROOT / module.replace(".", "/")
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return tuple(p.relative_to(ROOT).as_posix() for p in candidates if p.exists())


def packages_of(path: str) -> list[str]:
    """The `__init__.py` of each folder that the file lies in, if there is code in it."""
    inits = [folder / "__init__.py" for folder in (ROOT / path).parents if ROOT in folder.parents]
    return [
        init.relative_to(ROOT).as_posix()
        for init in inits
        if init.exists() and len(ast.parse(init.read_text(encoding="utf-8")).body) > 1
    ]
