"""params.yaml: a mistake is one line that says what, which value, and how to fix it."""

from pathlib import Path

import pytest
import yaml

from stages.plumbing.command import UserError
from stages.plumbing.params import load_params
from stages.plumbing.preset import apply_preset, merge

ROOT = Path(__file__).parents[2]


def params_with(tmp_path: Path, changes: dict) -> Path:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    merge(values, changes)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_shipped_file_is_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.tasks == ["mrpc"]
    assert set(params.quantize) >= {"fp32", "int8_dynamic"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"evaluate": {"batch_sizes": 8}}, "unknown key 'evaluate.batch_sizes'; did you mean"),
        ({"finetune": {"mrpc": {"lerning_rate": 1}}}, "did you mean 'learning_rate'?"),
        ({"expotr": {}}, "unknown key 'expotr'; did you mean 'export'?"),
        ({"finetune": {"mrpc": {"batch_size": "many"}}}, "finetune.mrpc.batch_size is 'many'"),
        ({"evaluate": {"padding": "max"}}, "evaluate.padding is 'max'"),
        ({"latency": {"queries": 10}}, "latency.queries is 10: Input should be greater than"),
        ({"tasks": ["mprc"]}, "unknown task 'mprc'; did you mean 'mrpc'?"),
        ({"quantize": {"int8_dynamik": {}}}, "unknown variant 'int8_dynamik'; did you mean"),
        ({"quantize": {"int8_dynamic": {"engin": "x86"}}}, "did you mean 'engine'?"),
        ({"quantize": {"int8_dynamic": {"engine": "x87"}}}, "engine is 'x87'"),
        ({"export": {"variant": "fp16"}}, "export.variant is 'fp16', which is not listed"),
    ],
)
def test_a_mistake_names_the_key_and_the_remedy(
    tmp_path: Path, changes: dict, expected: str
) -> None:
    with pytest.raises(UserError) as error:
        load_params(params_with(tmp_path, changes))
    assert expected in str(error.value)


def test_a_task_without_recipe_is_told_what_to_add(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    del values["finetune"]["mrpc"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"add a section finetune\.mrpc, copied from"):
        load_params(tmp_path / "params.yaml")


def test_broken_yaml_and_a_missing_file_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run from the folder that holds dvc\.yaml"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("tasks: [mrpc")
    with pytest.raises(UserError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "presets").iterdir()))
def test_every_preset_gives_valid_params_and_keeps_the_comments(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    apply_preset(name)
    wanted = yaml.safe_load((ROOT / "presets" / f"{name}.yaml").read_text())
    found = yaml.safe_load(Path("params.yaml").read_text())
    merged = yaml.safe_load((ROOT / "params.yaml").read_text())
    merge(merged, wanted)
    assert found == merged
    assert "# what ships" in Path("params.yaml").read_text()
    load_params()


def test_an_unknown_preset_leaves_params_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text("tasks: [mrpc]\n")
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="did you mean 'tutorial'"):
        apply_preset("tutorail")
    assert Path("params.yaml").read_text() == "tasks: [mrpc]\n"


def test_the_tutorial_preset_has_the_tutorials_settings() -> None:
    preset = yaml.safe_load((ROOT / "presets" / "tutorial.yaml").read_text())
    recipe = preset["finetune"]["mrpc"]
    assert recipe["model"] == "bert-base-uncased"
    assert (recipe["max_length"], recipe["batch_size"], recipe["epochs"]) == (128, 8, 3)
    assert (recipe["learning_rate"], recipe["seed"]) == (2e-5, 42)
    assert preset["evaluate"] == {"batch_size": 8, "padding": "max_length"}


def test_no_setting_of_another_preset_survives_the_tutorials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    recipes = []
    for first in ("quick", "bert_base_speed", None):
        (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        for name in filter(None, (first, "tutorial")):
            apply_preset(name)
        recipes.append(load_params().finetune["mrpc"])
    assert recipes[0] == recipes[1] == recipes[2]
