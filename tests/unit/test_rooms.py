"""Imports run one way, down the list of rooms: proved from the imports themselves."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from stages import variants

ROOT = Path(__file__).parents[2]
# The first may import all that follow; docs/layout.md draws it. "" is stages/<stage>.py.
ROOMS = (
    "commands",
    "",
    "score",
    "reporting",
    "running",
    "workspace",
    "settings",
    "variants",
    "engines/ibert_simulation",
    "engines/ibert",
    "engines/runtime",
    "engines/safe_l",
    "engines/int8",
    "engines/torch_dynamic",
    "engines/onnx",
    "training",
    "model",
    "tasks",
    "sources",
    "dataset",
    "measure",
    "plumbing",
)


def modules() -> dict[str, Path]:
    """Module name -> its file, of all that lies in stages/."""
    files = sorted((ROOT / "stages").rglob("*.py"))
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in files}
    return {".".join(name).removesuffix(".__init__"): path for path, name in parts.items()}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of this project that a file imports, wherever in it, also for type checkers alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide where they lead"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else str(node.module))
    return found & set(known)


def room_of(path: Path) -> str:
    folder = str(path.parent.relative_to(ROOT / "stages")).removeprefix(".")
    rooms = [room for room in ROOMS if folder == room or folder.startswith(f"{room}/")]
    assert rooms, f"{path} lies in no room of ROOMS"
    return rooms[0]


def up_the_list(known: dict[str, Path]) -> list[str]:
    """Imports that lead from a room into one above it."""
    order = {room: i for i, room in enumerate(ROOMS)}
    return [
        f"{name} imports {other}"
        for name, path in known.items()
        for other in imports(path, known)
        if order[room_of(known[other])] < order[room_of(path)]
    ]


def without_packages() -> dict[str, Path]:
    """All but the packages that hold nothing except a docstring, `stages` among them."""
    known = modules()
    return {
        name: path
        for name, path in known.items()
        if path.name != "__init__.py" or len(ast.parse(path.read_text()).body) > 1
    }


def test_no_import_leads_back_up() -> None:
    assert up_the_list(without_packages()) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    known = without_packages()
    graph = {name: imports(path, known) - {name} for name, path in known.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a cycle of imports: {' <- '.join(error.args[1])}")


def test_no_variant_imports_another_one() -> None:
    known = without_packages()
    for name, path in known.items():
        owner = name.removeprefix("stages.variants.").split(".")[0]
        if owner not in variants.names():
            continue
        for other in imports(path, known):
            foreign = other.removeprefix("stages.variants.").split(".")[0]
            assert foreign not in set(variants.names()) - {owner}, f"{name} imports {other}"


def test_every_folder_of_stages_is_a_room_and_every_room_a_folder() -> None:
    folders = {room_of(path) for path in modules().values() if path.name != "__init__.py"}
    assert folders == set(ROOMS)
