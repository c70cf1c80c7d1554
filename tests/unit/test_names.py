"""A name becomes a folder, an item of a stage and an argument: it means nothing to any of them."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages.plumbing import names
from stages.plumbing.command import UserError
from stages.plumbing.yaml_file import read_yaml
from stages.settings.params import load_params
from stages.training.model_names import resolve
from tests.unit.test_params import params_with

ROOT = Path(__file__).parents[2]
EVIL = [
    "own__$(touch X)",
    "own__`touch X`",
    "own__; touch X",
    "own__'x'",
    "own__x/../../../victim",
    "../mrpc",
    "/tmp/x",
    "mrpc__1.5",  # DVC would look for a key within a key
    "mrpc__A",  # a folder of the same name, where case does not count
    "mrpc__x y",
    "mrpc__\u00e9",
    "mrpc__x\n",
    "--help",
    "mrpc___x",
    "mrpc__",
    "",
    "m" * 61,
]


@pytest.mark.parametrize("name", EVIL)
def test_what_means_more_than_itself_is_no_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name for a task; take small letters"):
        names.check("task", name)
    training = yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"]["mrpc"]
    wrong: list[dict] = [
        {"tasks": [name]},
        {"quantize": {name: {}}},
        {"finetune": {name: training}},
        {"csv": {name: {"text": "text", "label": "label", "metric": "f1"}}},
    ]
    for changes in wrong:
        with pytest.raises(UserError, match="is no name for a") as refused:
            load_params(params_with(tmp_path, changes))
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", ["mrpc", "sougou__e5_128", "rte__mpnet", "a1", "x" * 60])
def test_these_are_names(name: str) -> None:
    names.check("task", name)


SEEDS = ["010", "-1", "1.0", "yes", "1:30", "0x10", "1_000", "1e3", str(2**32), "", " 1", "١"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_is_a_whole_number_written_in_one_way(seed: str) -> None:
    with pytest.raises(ValueError, match=r"is no seed; take a whole number up to 4,294,967,295"):
        names.check("seed", seed)
    for good in ("0", "42", str(2**32 - 1)):
        names.check("seed", good)


@pytest.mark.parametrize("written", ["yes", "1:30", "1.0", "true", '"42"', "'042'", "1e3", ".inf"])
def test_what_dvc_would_call_a_folder_otherwise_is_no_seed(written: str, tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("seeds: [42]", f"seeds:\n    - {written}")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"finetune.seeds.0 is .*: Input should be a valid integer"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "written",
    ["010", "0o10", "0x1F", "1_000", "+1", "1:30", "yes", "off", "1.0", "1e3", "007"],
)
def test_a_word_is_read_as_dvc_reads_it(written: str, tmp_path: Path) -> None:
    load_yaml = importlib.import_module("dvc.utils.serialize").load_yaml
    (tmp_path / "a.yaml").write_text(f"a: {written}\n")
    ours, theirs = read_yaml(tmp_path / "a.yaml"), load_yaml(tmp_path / "a.yaml")
    assert repr(ours) == repr(theirs)


def test_another_version_of_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("%YAML 1.1\n---\na: 010\n")
    with pytest.raises(UserError, match=r"a.yaml line 1: take out the directive '%YAML 1.1'"):
        read_yaml(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("finetune", "--task", "own__$(touch X)", "--seed", "42"), "is no name for a task"),
        (("finetune", "--task", "mrpc", "--seed", "010"), "'010' is no seed"),
        (("quantize", "--task", "mrpc", "--seed", "4", "--variant", "../x"), "for a variant"),
    ],
)
def test_every_stage_checks_its_arguments(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    command = [sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["stages"]


@pytest.mark.parametrize("name", ["a/../../x", "x?y", "x y", "a/b/c", "$(touch X)", "a\n", "x#y"])
def test_what_is_no_hub_id_is_never_asked_for(name: str) -> None:
    with pytest.raises(UserError, match=r"unknown model|does not exist"):
        resolve(name)
