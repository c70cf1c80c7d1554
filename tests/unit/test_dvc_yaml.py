"""dvc.yaml names all that a stage's result depends on; an edit reruns what it touches."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages import tasks, variants
from stages.plumbing.imports import files_of

ROOT = Path(__file__).parents[2]
STAGES: dict[str, dict] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CODE = "reports/code"
# These call a variant's own code: of one variant, or of all that are listed.
OF_ONE, OF_ALL = ("quantize", "evaluate"), ("size_report", "latency", "export")
KERNEL = "stages/variants/int8_fast/kernel"


@pytest.mark.parametrize("stage", [name for name in STAGES if name != "code"])
def test_every_stage_depends_on_its_own_code(stage: str) -> None:
    assert f"{CODE}/{stage}.json" in STAGES[stage]["deps"]
    assert not [dep for dep in STAGES[stage]["deps"] if dep.startswith("stages")]


def test_a_stage_that_calls_variants_depends_on_their_code() -> None:
    for stage, definition in STAGES.items():
        needs = [f"{CODE}/variants/${{item.variant}}.json"] if stage in OF_ONE else []
        needs += [f"{CODE}/variants"] if stage in OF_ALL else []
        assert [dep for dep in definition["deps"] if dep.startswith(f"{CODE}/variants")] == needs
    callers = {
        stage
        for stage in STAGES
        if ".engine." in (text := (ROOT / f"stages/{stage}.py").read_text())
        or "build_artifact" in text
        or ".load_counting(" in text
    }
    assert callers | {"latency"} == {*OF_ONE, *OF_ALL}  # latency calls it in timed processes


def test_fetching_depends_on_the_tasks_own_code_alone() -> None:
    assert f"{CODE}/tasks/${{item.task}}.json" in STAGES["download_glue"]["deps"]
    mrpc = files_of([tasks.module_of("mrpc", {})])
    assert {"stages/tasks/mrpc.py", "stages/sources/glue_tsv.py"} <= set(mrpc)
    assert not {"stages/tasks/imdb.py", "stages/sources/own_file/csv_file.py"} & set(mrpc)


@pytest.mark.parametrize(
    ("variant", "file", "is_part"),
    [
        ("int8_fast", f"{KERNEL}/int8_linear.h", True),
        ("int8_fast", f"{KERNEL}/load_kernel.py", True),
        ("int8_fast", "stages/engines/int8/layers.py", True),
        ("int8_fast", "stages/engines/runtime/shipped/forward.h", True),
        ("int8_fast", "stages/engines/ibert/kernel/rows.h", False),
        ("ibert", "stages/engines/ibert/kernel/rows.h", True),
        ("ibert", "stages/engines/ibert/c99/ibert.c", True),
        ("ibert", f"{KERNEL}/int8_linear.h", False),
        ("int8_fast", "stages/engines/torch_dynamic/layers.py", False),
        ("int8_dynamic", f"{KERNEL}/int8_linear.h", False),
        ("int8_dynamic", "stages/engines/torch_dynamic/layers.py", True),
        ("int8_dynamic", "stages/engines/int8/layers.py", False),
        ("int8_onnx", "stages/engines/onnx/session.py", True),
        ("int8_onnx", "stages/engines/int8/layers.py", False),
        ("int8_mixed", "stages/variants/int8_mixed/budget.py", True),
        ("int8_static", "stages/variants/int8_mixed/budget.py", False),
        ("int8_qat", "stages/training/loop.py", True),
        ("int8_static", "stages/training/loop.py", False),
        ("ibert_paper", "stages/engines/ibert_simulation/simulation.py", True),
        ("ibert_paper", "stages/training/loop.py", False),
        ("ibert_paper_qat", "stages/training/loop.py", True),
        ("ibert", "stages/engines/ibert_simulation/simulation.py", False),
        ("fp32", "stages/model/classifier.py", True),
        ("fp32", "stages/engines/int8/layers.py", False),
        ("fp32", "stages/plumbing/files.py", False),  # can stop a stage, changes no result
    ],
)
def test_a_variant_is_made_of_its_own_files_and_of_the_engine_that_it_uses(
    variant: str, file: str, is_part: bool
) -> None:
    assert (ROOT / file).exists()
    assert (file in files_of([variants.module_of(variant)])) == is_part


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("params.yaml", "presets"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, tmp_path / name)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=ignore)
    return tmp_path


def code_of(project: Path) -> dict[str, dict]:
    """What stage code writes: name -> file -> checksum."""
    subprocess.run([sys.executable, "-m", "stages.code"], cwd=project, check=True)
    folder = project / CODE
    files = sorted(folder.rglob("*.json"))
    return {str(file.relative_to(folder)): json.loads(file.read_text()) for file in files}


@pytest.mark.parametrize(
    ("file", "touched"),
    [
        (f"{KERNEL}/int8_linear.h", {"variants/int8_fast.json"}),
        ("stages/engines/onnx/building.py", {"variants/int8_onnx.json"}),
        ("stages/training/quick_dropout.py", {"finetune.json"}),
        ("stages/reporting/model_card.py", {"export.json"}),
        ("stages/running/shipped/serve.py", {"export.json"}),
        ("stages/sources/glue_tsv.py", {"tasks/mrpc.json"}),
        ("stages/plumbing/command.py", set()),
    ],
)
def test_an_edit_moves_the_checksums_of_what_it_touches_and_no_others(
    project: Path, file: str, touched: set[str]
) -> None:
    before = code_of(project)
    with (project / file).open("a") as edited:
        edited.write("// edited\n" if file.endswith(".h") else "# edited\n")
    after = code_of(project)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == touched


@pytest.mark.parametrize("stage", STAGES)
def test_stage_file_and_command_bear_the_stages_name(stage: str) -> None:
    assert (ROOT / "stages" / f"{stage}.py").exists()
    assert STAGES[stage]["cmd"].startswith(f"python -m stages.{stage}")


def test_every_file_beside_the_rooms_is_a_stage() -> None:
    files = {path.stem for path in (ROOT / "stages").glob("*.py")}
    assert files == {"__init__", *STAGES}


def test_finetune_does_not_depend_on_variants_and_no_stage_knows_one_by_name() -> None:
    assert not any("variants" in dep for dep in STAGES["finetune"]["deps"])
    # "fp32" is also what stages call the reference's numbers.
    own = [name for name in variants.names() if name != variants.REFERENCE]
    for stage in STAGES:
        text = (ROOT / "stages" / f"{stage}.py").read_text()
        for name in (*own, f'"{variants.REFERENCE}"', '"mrpc"', "movie_reviews"):
            assert name not in text, f"stages/{stage}.py knows {name}"
