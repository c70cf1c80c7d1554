"""dvc.yaml: each stage depends on the code that can change its result, and on nothing else."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from stages import variants

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Can stop a stage, never change its result; stages/plumbing/__init__.py says so.
LEFT_OUT = ("stages/plumbing", "stages/__init__.py")
# Reached only through the registries, by the name of the matrix item.
REGISTRIES = ("stages/tasks/", "stages/variants/")
# What a stage calls of a variant (see stages.variants.Variant).
CALLS = {
    "calibrate": ("calibrate",),
    "quantize": ("build", "count_quantized"),
    "size_report": ("tensor_bytes",),
    "evaluate": ("load",),
    "latency": ("load",),
    "export": ("load", "export"),
}


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


def files_of(modules: set[str]) -> set[str]:
    files = set()
    for name in modules:
        base = ROOT / name.replace(".", "/")
        for candidate in (base.with_suffix(".py"), base / "__init__.py"):
            if name.startswith("stages") and candidate.exists():
                files.add(str(candidate.relative_to(ROOT)))
    return files


def imported_files(path: Path) -> set[str]:
    return files_of(names_in(ast.parse(path.read_text())))


def used_by(file: str, functions: tuple[str, ...]) -> set[str]:
    """The file, and all that these functions of it import, or those that they call.

    What a variant takes by name from a stages/models/*_artifact.py is followed in the same way, so
    that it needs what it calls there, and not all that others call there.
    """
    tree = ast.parse((ROOT / file).read_text())
    definitions = (ast.FunctionDef, ast.ClassDef)
    defined = {node.name: node for node in tree.body if isinstance(node, definitions)}
    modules, origin = set[str](), dict[str, str]()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).endswith("_artifact"):
            path = f"{str(node.module).replace('.', '/')}.py"
            origin |= {alias.name: path for alias in node.names}
        elif not isinstance(node, definitions):
            modules |= names_in(node)
    queue, seen, used = list(functions), set[str](), {file}
    while queue:
        name = queue.pop()
        if name not in seen and name in defined:
            modules |= names_in(defined[name])
            queue += [n.id for n in ast.walk(defined[name]) if isinstance(n, ast.Name)]
        elif name not in seen and name in origin:
            used |= used_by(origin[name], (name,))
        seen.add(name)
    return used | with_imports(sorted(files_of(modules)))


def needed(stage: str, *others: str) -> set[str]:
    """The stage's own file and all that it imports, directly or not."""
    return with_imports([f"stages/{stage}.py", *others])


def with_imports(queue: list[str]) -> set[str]:
    found: set[str] = set()
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


@pytest.mark.parametrize("variant", variants.names())
@pytest.mark.parametrize("stage", CALLS)
def test_every_file_that_a_variant_imports_is_a_dep_of_the_stages_that_call_it(
    stage: str, variant: str
) -> None:
    item = (("${item.variant}", variant), ("${item.task}", "mrpc"))
    deps = []
    for dep in STAGES[stage]["deps"]:
        for placeholder, value in item:
            dep = dep.replace(placeholder, value)
        deps.append(dep)
    own = f"stages/variants/{variant}.py"
    used = used_by(own, CALLS[stage])
    missing = {
        file
        for file in used
        if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)
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
    # "fp32" is also what stages call the reference's numbers.
    own = [name for name in variants.names() if name != variants.REFERENCE]
    for stage in STAGES:
        text = (ROOT / "stages" / f"{stage}.py").read_text()
        for name in (*own, f'"{variants.REFERENCE}"', '"mrpc"', "movie_reviews"):
            assert name not in text, f"stages/{stage}.py knows {name}"


def test_no_source_file_is_longer_than_250_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "stages").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 250
    }
    assert not long
