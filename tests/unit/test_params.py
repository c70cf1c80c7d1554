"""params.yaml: a mistake is one line that says what, which value, and how to fix it."""

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stages import variants
from stages.commands.preset import apply_preset
from stages.plumbing.command import UserError
from stages.plumbing.yaml_file import read_yaml
from stages.settings.params import load_params
from stages.settings.writing import merge

ROOT = Path(__file__).parents[2]
TRAINING = yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"]["mrpc"]
SLOW_TO_IMPORT = ["torch", "transformers", "pandas", "sklearn", "scipy", "onnx", "onnxruntime"]


def params_with(tmp_path: Path, changes: dict) -> Path:
    """The shipped file with all variants and `changes`."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    merge(values, yaml.safe_load((ROOT / "presets" / "full.yaml").read_text()))
    merge(values, changes)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_shipped_file_is_valid() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.tasks == ["mrpc"]
    assert params.export.variant == "auto"


def test_preset_full_has_every_variant(tmp_path: Path) -> None:
    assert set(load_params(params_with(tmp_path, {})).quantize) == set(variants.names())


@pytest.mark.parametrize(
    "code",
    [
        "from stages.settings.params import load_params; load_params()",
        f"from stages.variants import {', '.join(variants.names())}",
    ],
    ids=["params.yaml", "variants"],
)
def test_checking_the_file_imports_nothing_slow(code: str) -> None:
    code += f"; import sys; print(set({SLOW_TO_IMPORT}) & set(sys.modules))"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "set()", result.stderr


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
        ({"finetune": {"mrpc": {"seed": 1}}}, "unknown key 'finetune.mrpc.seed'"),
        ({"finetune": {"seeds": [42, 43, 42]}}, "finetune.seeds is [42, 43, 42]"),
        ({"finetune": {"seeds": [1, 1]}}, "1 stands there twice; name each once"),
        ({"finetune": {"seeds": [1.0]}}, "is 1.0: Input should be a valid integer"),
        ({"finetune": {"seeds": [2**32]}}, "Input should be less than or equal to 4294967295"),
        ({"finetune": {"mrcp": TRAINING}}, "finetune.mrcp: unknown task 'mrcp'; did you mean"),
        ({"finetune": {"mrpc": {"model": " "}}}, "neither 'model' nor 'checkpoint' names one"),
        ({"finetune": {"mrpc": {"learning_rate": math.inf}}}, "is inf: Input should be a finite"),
        ({"finetune": {"mrpc": {"learning_rate": math.nan}}}, "is nan: Input should be a finite"),
        ({"finetune": {"mrpc": {"learning_rate": 5}}}, "is 5: Input should be less than or equal"),
        ({"finetune": {"mrpc": {"batch_size": True}}}, "is True: Input should be a valid integer"),
        ({"finetune": {"mrpc": {"batch_size": "16"}}}, "is '16': Input should be a valid integer"),
        ({"finetune": {"mrpc": {"batch_size": 16.0}}}, "is 16.0: Input should be a valid integer"),
        ({"finetune": {"mrpc": {"epochs": True}}}, "is True: Input should be a valid number"),
        ({"finetune": {"mrpc": {"epochs": -1}}}, "finetune.mrpc.epochs is -1"),
        ({"finetune": {"mrpc": {"max_steps": 0}}}, "1 or more, or -1 for all epochs"),
        ({"finetune": {"mrpc": {"max_steps": -7}}}, "1 or more, or -1 for all epochs"),
        ({"finetune": {"mrpc": {"weight_decay": 2}}}, "finetune.mrpc.weight_decay is 2"),
        ({"finetune": {"mrpc": {"max_length": 10**9}}}, "finetune.mrpc.max_length is 1000000000"),
        ({"tasks": ["mrpc", "rte", "mrpc"]}, "'mrpc' stands there twice; name each once"),
        ({"tasks": []}, "tasks is []"),
        ({"tasks": "mrpc"}, "tasks is 'mrpc': Input should be a valid list"),
        ({"latency": {"threads": [1, 1]}}, "latency.threads is [1, 1]: Value error, 1 stands"),
        ({"latency": {"threads": ["all", "all"]}}, "'all' stands there twice"),
        ({"latency": {"threads": [1000]}}, "is 1000: Input should be less than or equal to 512"),
        ({"latency": {"threads": [True]}}, "latency.threads.0 is True"),
        ({"latency": {"batch_sizes": [8, 1, 8]}}, "8 stands there twice"),
        ({"latency": {"rounds": 0}}, "latency.rounds is 0"),
        ({"download_glue": {"sources": ["hub", "hub"]}}, "'hub' stands there twice"),
        ({"compare": {"max_drop_points": math.nan}}, "is nan: Input should be a finite number"),
        ({"compare": {"max_drop_points": 101}}, "compare.max_drop_points is 101"),
        ({"compare": {"confidence": 0.999, "bootstrap_samples": 100}}, "not one of bootstrap_sam"),
        ({"compare": {"price_per_core_hour": -1}}, "compare.price_per_core_hour is -1"),
        ({"quantize": {"int8_qat": {"learning_rate": 1}}}, "quantize.int8_qat.learning_rate is 1"),
        ({"quantize": {"int8_qat": {"max_steps": 0}}}, "1 or more, or -1 for all epochs"),
        ({"quantize": {"int8_onnx": {"embeddings": 1}}}, "is 1: Input should be a valid boolean"),
        (
            {"quantize": {"int8_onnx": {"embeddings": "yes"}}},
            "is 'yes': Input should be a valid bo",
        ),
        ({"quantize": {"fp32": {"max_distance_from_fp32": math.inf}}}, "is inf: Input should be"),
        ({"finetune": {"seeds": []}}, "finetune.seeds is []"),
        ({"finetune": {"seeds": [-1]}}, "is -1: Input should be greater than or equal to 0"),
        ({"finetune": {"seeds": 42}}, "finetune.seeds is 42: Input should be a valid list"),
        ({"evaluate": {"min_other_answers_pct": -3}}, "evaluate.min_other_answers_pct is -3"),
        ({"quantize": {"int8_qat": {"max_step": 1}}}, "did you mean 'max_steps'?"),
        ({"quantize": {"int8_static": {"method": "minmax"}}}, "int8_static.method is 'minmax'"),
        ({"quantize": {"int8_per_token": {"bits": 4}}}, "quantize.int8_per_token.bits is 4"),
        ({"quantize": {"fp32": None}}, "'quantize' lacks 'fp32'"),
        ({"export": {"variant": "auot"}}, "did you mean 'auto'?"),
        ({"export": {"variant": "fp16"}}, "export.variant is 'fp16', which is not listed"),
    ],
)
def test_a_mistake_names_the_key_and_the_remedy(
    tmp_path: Path, changes: dict, expected: str
) -> None:
    with pytest.raises(UserError) as error:
        load_params(params_with(tmp_path, changes))
    assert expected in str(error.value)


@pytest.mark.parametrize("name", ["auto", "int8_per_token"])
def test_what_ships_may_be_named_or_left_to_the_comparison(tmp_path: Path, name: str) -> None:
    assert load_params(params_with(tmp_path, {"export": {"variant": name}})).export.variant == name


def test_a_variant_taken_out_cannot_ship(tmp_path: Path) -> None:
    changes = {"quantize": {"int8_qat": None}, "export": {"variant": "int8_qat"}}
    with pytest.raises(UserError, match="'int8_qat', which is not listed under 'quantize'"):
        load_params(params_with(tmp_path, changes))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"b": {"c": 5}}, {"a": 1, "b": {"c": 5, "d": 3}}),
        ({"b": {"c": None}}, {"a": 1, "b": {"d": 3}}),
        ({"b": None}, {"a": 1}),
        ({"b": {"e": None}, "f": None}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"b": {}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"e": {"f": 1}}, {"a": 1, "b": {"c": 2, "d": 3}, "e": {"f": 1}}),
        ({"a": {"c": 1}}, {"a": {"c": 1}, "b": {"c": 2, "d": 3}}),
    ],
)
def test_a_preset_changes_what_it_names_and_null_takes_a_key_out(
    settings: dict, expected: dict
) -> None:
    values: dict = {"a": 1, "b": {"c": 2, "d": 3}}
    merge(values, settings)
    assert values == expected


def test_a_task_without_training_settings_is_told_what_to_add(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    del values["finetune"]["mrpc"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"add a section finetune\.mrpc, copied from"):
        load_params(tmp_path / "params.yaml")


def test_broken_yaml_and_a_missing_file_are_user_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run from the folder that holds dvc\.yaml"):
        load_params(tmp_path / "params.yaml")
    for text in ("tasks: [mrpc", "a: {b: c", "\tb: 1", "a: \x00"):
        (tmp_path / "params.yaml").write_text(text)
        with pytest.raises(UserError, match="not valid YAML"):
            load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes("licence: größer".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("csv:\n  own: {train: a.csv, text: t, label: l, metric: accuracy}\n", "csv"),
        ("quantize:\n  fp32: {}\n  fp32: {}\n", "quantize"),
        ("{tasks: [mrpc]}", None),
    ],
)
def test_a_key_that_stands_there_twice_is_refused_with_its_line(
    more: str, key: str | None, tmp_path: Path
) -> None:
    """YAML's readers take the second one, and say nothing."""
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text + more)
    line = text.count("\n") + 1
    wanted = f"line {line}: the key '{key}' stands there a second time" if key else "not valid YAML"
    with pytest.raises(UserError, match=wanted):
        load_params(tmp_path / "params.yaml")


def test_a_key_twice_within_a_section_is_refused(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("  fp32: {}\n", "  fp32: {}\n  fp32: {}\n"))
    with pytest.raises(UserError, match="the key 'fp32' stands there a second time"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("preset", ["tasks: [mrpc]\ntasks: [rte]\n", "evaluate: {padding: longest"])
def test_a_broken_preset_changes_nothing(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/mine.yaml").write_text(preset)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"mine\.yaml line"):
        apply_preset("mine")
    assert Path("params.yaml").read_text() == before


def test_words_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    """YAML 1.2, where yes and no are words, and 010 is a number in base ten."""
    (tmp_path / "a.yaml").write_text("yes: no\nseed: 010\nrate: 1e-4\n")
    assert read_yaml(tmp_path / "a.yaml") == {"yes": "no", "seed": 10, "rate": 1e-4}


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
    if "quantize" in wanted:  # the variants are its own, and no others
        del merged["quantize"]
    merge(merged, wanted)
    assert found == merged
    assert "# what ships" in Path("params.yaml").read_text()
    load_params()


@pytest.mark.parametrize("name", ["tutorail", "../presets/tutorial", "tutorial.yaml", "", "*"])
def test_an_unknown_preset_leaves_params_alone(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text("tasks: [mrpc]\n")
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"unknown preset '{re.escape(name)}'.*known: .*tutorial"):
        apply_preset(name)
    assert Path("params.yaml").read_text() == "tasks: [mrpc]\n"


def test_the_tutorial_preset_has_the_tutorials_settings() -> None:
    preset = yaml.safe_load((ROOT / "presets" / "tutorial.yaml").read_text())
    recipe = preset["finetune"]["mrpc"]
    assert recipe["model"] == "bert-base-uncased"
    assert (recipe["max_length"], recipe["batch_size"], recipe["epochs"]) == (128, 8, 3)
    assert (recipe["learning_rate"], preset["finetune"]["seeds"]) == (2e-5, [42])
    assert (preset["evaluate"]["batch_size"], preset["evaluate"]["padding"]) == (8, "max_length")


def test_the_imdb_preset_has_the_notebooks_settings() -> None:
    recipe = yaml.safe_load((ROOT / "presets" / "imdb.yaml").read_text())["finetune"]["imdb"]
    found = [recipe[k] for k in ("model", "max_length", "learning_rate", "batch_size", "epochs")]
    assert found == ["bert-base-cased", 300, 5e-5, 32, 3]
    assert recipe["warmup_ratio"] == 0.2


def test_the_chinese_preset_times_three_lengths_three_times_one_article_on_one_thread() -> None:
    preset = yaml.safe_load((ROOT / "presets" / "chinese_topics.yaml").read_text())
    recipes = {name: preset["finetune"][name] for name in preset["tasks"]}
    for model in ("scratch:char-bert", "random:bert-base-chinese"):
        lengths = [each["max_length"] for each in recipes.values() if each["model"] == model]
        assert lengths == [128, 256, 384]
    timing = preset["latency"]
    assert (timing["threads"], timing["batch_sizes"], timing["rounds"]) == ([1], [1], 3)
    assert timing["padding"] == "max_length"


def test_no_setting_of_another_preset_survives_the_tutorials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    monkeypatch.chdir(tmp_path)
    settings = []
    for first in ("quick", "bert_base_speed", "full", None):
        (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
        for name in filter(None, (first, "tutorial")):
            apply_preset(name)
        settings.append((load_params().training("mrpc"), load_params().quantize))
    assert settings[0] == settings[1] == settings[2] == settings[3]
