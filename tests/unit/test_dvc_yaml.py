"""dvc.yaml: each stage depends on the code that can change its result, and on nothing else."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Can stop a stage, never change its result; stages/plumbing/__init__.py says so.
LEFT_OUT = ("stages/plumbing", "stages/__init__.py")
# Reached only through the registries, by the name of the matrix item.
REGISTRIES = ("stages/tasks/", "stages/variants/")


def is_type_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def names_in(node: ast.AST) -> set[str]:
    """Modules that a piece of code imports, also inside functions, or starts with `python -m`."""
    if is_type_only(node):
        return set()
    found = set().union(*(names_in(child) for child in ast.iter_child_nodes(node)))
    if isinstance(node, ast.Import):
        found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and node.module:
        found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    elif isinstance(node, ast.Constant) and re.fullmatch(r"stages(\.\w+)+", str(node.value)):
        found.add(str(node.value))
    return found


def imported_files(path: Path) -> set[str]:
    files = set()
    for name in names_in(ast.parse(path.read_text())):
        base = ROOT / name.replace(".", "/")
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if name.startswith("stages") and candidate.exists():
                files.add(str(candidate.relative_to(ROOT)))
    return files


def needed(stage: str, *others: str) -> set[str]:
    """The stage's own file and all that it imports, directly or not."""
    found: set[str] = set()
    queue = [f"stages/{stage}.py", *others]
    while queue:
        file = queue.pop()
        if file in found or file.startswith(LEFT_OUT):
            continue
        found.add(file)
        queue += imported_files(ROOT / file)
    return found


def in_registries() -> list[str]:
    files = [path for folder in REGISTRIES for path in (ROOT / folder).glob("*.py")]
    return [str(path.relative_to(ROOT)) for path in files]


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_file_is_a_dep(stage: str) -> None:
    deps = tuple(STAGES[stage].get("deps", []))
    missing = {
        file
        for file in needed(stage)
        if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)
        # The package file of a listed folder's siblings says nothing but what the folder is for.
        and Path(file).name != "__init__.py"
    }
    assert not missing


@pytest.mark.parametrize("stage", STAGES)
def test_every_dep_on_code_is_used(stage: str) -> None:
    used = needed(stage, *in_registries())
    for dep in STAGES[stage].get("deps", []):
        if dep.startswith("stages/") and "${" not in dep:
            assert any(file == dep or file.startswith(f"{dep}/") for file in used), dep


@pytest.mark.parametrize("stage", STAGES)
def test_stage_file_and_command_bear_the_stages_name(stage: str) -> None:
    assert (ROOT / "stages" / f"{stage}.py").exists()
    assert STAGES[stage]["cmd"].startswith(f"python -m stages.{stage}")


def test_finetune_does_not_depend_on_variants_and_no_stage_knows_one_by_name() -> None:
    assert not any("variants" in dep for dep in STAGES["finetune"]["deps"])
    for stage in STAGES:
        text = (ROOT / "stages" / f"{stage}.py").read_text()
        for name in ("int8_dynamic", '"mrpc"', "movie_reviews"):
            assert name not in text, f"stages/{stage}.py knows {name}"


def test_no_source_file_is_longer_than_250_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "stages").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 250
    }
    assert not long
