"""What DVC cannot see: the machine, the user's own files, outputs that nobody makes any more."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.environment import environment
from stages.model.cpu import instruction_set
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_json
from stages.plumbing.lock import locked
from tests.own_file import WHOLE, written
from tests.unit.test_csv_stage import ROOT, TRAINING, project, set_params

__all__ = ["project"]  # a fixture
OUTSIDE = Path("metrics/outside/own.json")
OWN = {"train": "one/own.csv", "test": "two/own.csv"}
SETTINGS: dict[str, dict] = {"csv": {"own": OWN}, "finetune": {"own": {"model": "model"}}}


@pytest.fixture
def files(project: Path) -> Path:
    """Train and test with the same name in two folders, and a local model."""
    written(project / "one/own.csv", WHOLE)
    written(project / "two/own.csv", WHOLE)
    written(project / "model/config.json", "{}")
    set_params(project, SETTINGS)
    return project


# ---- the machine


def test_the_stage_describes_the_machine_and_again_in_the_same_bytes(files: Path) -> None:
    (files / "stages").symlink_to(ROOT / "stages")
    outputs = []
    for _ in range(2):
        subprocess.run([sys.executable, "-m", "stages.environment"], check=True)
        outputs.append({p: p.read_bytes() for p in Path("metrics").rglob("*.json")})
    assert outputs[0] == outputs[1]
    facts = read_json(Path("metrics/environment.json"))
    assert facts["instruction_set"] == instruction_set()
    arithmetic = {key: facts[key] for key in ("instruction_set", "torch", "onnxruntime")}
    assert read_json(Path("metrics/arithmetic.json")) == arithmetic


# ---- files outside of the repository


def changed(change: Callable[[], object]) -> bool:
    """Whether stages that depend on the user's files would run anew."""
    environment()
    before = OUTSIDE.read_bytes()
    change()
    environment()
    return OUTSIDE.read_bytes() != before


def test_the_same_files_give_the_same_bytes_without_any_path(files: Path) -> None:
    assert not changed(lambda: None)
    assert str(files) not in OUTSIDE.read_text()


@pytest.mark.parametrize("name", ["one/own.csv", "two/own.csv", "model/config.json"])
def test_a_change_of_any_of_them_is_seen(files: Path, name: str) -> None:
    assert changed(lambda: (files / name).write_text(f"{(files / name).read_text()} "))


def test_other_settings_of_the_entry_are_seen_and_those_of_another_task_are_not(
    files: Path,
) -> None:
    other = {"csv": {"own": OWN, "other": OWN | {"text": "a", "label": "b", "metric": "f1"}}}
    assert not changed(lambda: set_params(files, SETTINGS | other))
    assert changed(lambda: set_params(files, SETTINGS | {"csv": {"own": OWN | {"quote": ""}}}))


def test_files_that_are_gone_keep_what_was_known_of_them(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave() -> None:
        for name in ("one", "two", "model"):
            shutil.rmtree(files / name)

    assert not changed(leave)
    said = capsys.readouterr().out
    assert "one/own.csv is not here; what was built from it before stands" in said


def test_files_that_were_never_there_are_an_error(files: Path) -> None:
    (files / "two/own.csv").unlink()
    with pytest.raises(UserError, match=r"two/own.csv does not exist"):
        environment()
    assert not Path("metrics").exists()


def test_a_task_without_such_files_has_none(files: Path) -> None:
    set_params(files, SETTINGS | {"tasks": ["own", "mrpc"]})
    environment()
    assert read_json(Path("metrics/outside/mrpc.json")) == {"settings": {}, "data": {}, "model": {}}
    assert read_json(OUTSIDE)["data"].keys() == {"1 own.csv", "2 own.csv"}


# ---- leftovers

LISTED = [
    "models/own/seed_1/finetuned/model.safetensors",
    "models/own/seed_1/fp32/model.safetensors",
    "models/own/seed_2/int8_onnx/model.onnx",
    "metrics/own/finetune/seed_2.json",
    "metrics/own/accuracy/seed_1/fp32.json",
    "metrics/own/accuracy/seed_2/int8_onnx.json",
    "reports/own/predictions/seed_1/fp32.csv",
    "reports/own/training/seed_2/loss.csv",
]
GONE = [
    "models/own/seed_3/finetuned/recipe.json",
    "models/own/seed_1/int8_static/manifest.json",
    "metrics/own/finetune/seed_3.json",
    "metrics/own/accuracy/seed_3/fp32.json",
    "metrics/own/accuracy/seed_2/int8_static.json",
    "reports/own/predictions/seed_3/fp32.csv",
    "reports/own/predictions/seed_2/int8_static.csv",
    "reports/own/training/seed_3/loss.csv",
]
NOBODYS_OUTPUT = [
    "models/own/.gitignore",
    "models/own/seed_1/.gitignore",
    "reports/own/predictions/seed_1/.gitignore",
    "metrics/own/size/int8_static.json",  # which its stage writes as a whole
    "exports/own/model.onnx",
    "data/own/train.parquet",
    "notes.md",
    # Of a stage that is just writing.
    "models/own/seed_1/int8_static.partial/manifest.json",
    "reports/own/predictions/seed_1/int8_static.csv.partial",
    "metrics/own/accuracy/seed_1/int8_static.json.partial",
    ".building/own-1-int8_static/model.safetensors",
    # The user's own.
    "models/own/mine/model.safetensors",
    "models/own/seed_old/model.safetensors",
    "models/own/seed_1/notes/manifest.txt",
    "reports/own/predictions/seed_1/notes.md",
]
OTHER_TASKS = [
    "models/mrpc/seed_3/int8_static/model.safetensors",
    "metrics/own__long/accuracy/seed_3/fp32.json",
    "reports/mrpc/predictions/seed_1/int8_static.csv",
]


@pytest.fixture
def full_of_outputs(files: Path) -> Path:
    """Of seeds 1 to 3 and variants fp32, int8_onnx, int8_static; the last of each is not listed."""
    for name in [*LISTED, *GONE, *NOBODYS_OUTPUT, *OTHER_TASKS]:
        written(files / name, name)
    own = {"finetune": {"own": {"model": "model"}, "seeds": [1, 2]}}
    variants = {"int8_dynamic": None, "int8_embeddings": None, "int8_fast": None}
    set_params(files, SETTINGS | own | {"quantize": variants})
    return files


def test_what_params_no_longer_lists_is_removed_and_said(
    full_of_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment()
    assert not [name for name in GONE if Path(name).exists()]
    assert not Path("models/own/seed_3").exists()
    said = capsys.readouterr().out.splitlines()
    line = "models/own/seed_3/finetuned belongs to nothing that params.yaml lists: removed"
    assert line in said
    assert len([line for line in said if line.endswith(": removed")]) == len(GONE)


def test_what_a_killed_stage_was_writing_is_removed_and_what_one_writes_is_not(
    full_of_outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it never runs again, too: its variant is taken out, its task's data are there."""
    dead = [
        "models/own/seed_1/int8_static.0123abcd.partial/model.safetensors",
        "exports/own.0123abcd.partial/model.onnx",
        "reports/own/predictions/seed_1/fp32.csv.0123abcd.partial",
        "models/own/seed_1/int8_static.lock.partial",
    ]
    alive = "models/own/seed_2/fp32.0123abcd.partial/model.safetensors"
    for name in (*dead, alive):
        written(full_of_outputs / name, name)
    with locked(Path("models/own/seed_2/fp32")):
        environment()
    assert not [name for name in dead if Path(name).exists()]
    assert Path(alive).exists()
    said = capsys.readouterr().out
    assert "exports/own: what a killed stage left of it is cleared away\n" in said
    left = set(full_of_outputs.rglob("*.partial"))
    assert {path.name for path in left} == {
        "fp32.0123abcd.partial",
        *(Path(name).name for name in NOBODYS_OUTPUT if name.endswith(".partial")),
        "int8_static.partial",
    }


def test_a_folder_that_a_kill_left_between_two_renames_comes_back(full_of_outputs: Path) -> None:
    whole = "models/own/seed_1/fp32"
    Path(whole).rename(f"{whole}.0123abcd.old.partial")
    environment()
    assert Path(whole, "model.safetensors").read_text() == f"{whole}/model.safetensors"


def test_all_else_is_never_touched(full_of_outputs: Path) -> None:
    environment()
    for name in [*LISTED, *NOBODYS_OUTPUT, *OTHER_TASKS]:
        assert Path(name).read_text() == name


def test_a_model_that_a_training_starts_from_is_never_removed(full_of_outputs: Path) -> None:
    mine = "models/own/seed_3/finetuned"
    set_params(full_of_outputs, SETTINGS | {"finetune": {"own": {"model": mine}, "seeds": [1]}})
    environment()
    assert Path(mine, "recipe.json").exists()


def test_a_task_taken_out_of_the_list_keeps_what_was_known_of_its_files(files: Path) -> None:
    environment()
    known = OUTSIDE.read_bytes()
    set_params(files, SETTINGS | {"tasks": ["mrpc"]})
    shutil.rmtree(files / "one")
    environment()
    set_params(files, SETTINGS)
    environment()
    assert OUTSIDE.read_bytes() == known


def test_where_nothing_was_built_yet_nothing_is_removed(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environment()
    assert ": removed" not in capsys.readouterr().out


def test_unlisted_second_settings_of_a_listed_task_stays(full_of_outputs: Path) -> None:
    set_params(
        full_of_outputs,
        {**SETTINGS, "tasks": ["own__long"], "finetune": {"own__long": TRAINING, "seeds": [3]}},
    )
    environment()
    assert Path("metrics/own__long/accuracy/seed_3/fp32.json").exists()
    assert not [name for name in [*LISTED, *GONE] if not Path(name).exists()]
