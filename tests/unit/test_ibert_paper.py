"""The paper's own I-BERT, simulated: what it rounds, what it is built from, that it never ships."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers.models.ibert.quant_modules import IntSoftmax, QuantAct, QuantLinear

from stages import variants
from stages.engines.ibert_simulation import simulation
from stages.export import what_ships
from stages.model.artifact import WEIGHTS, read_manifest
from stages.model.classifier import load_checkpoint, predictor
from stages.plumbing.command import UserError
from stages.plumbing.files import write_json, write_text
from stages.plumbing.manifest import write_checksums
from stages.reporting.choice import rows_of
from stages.tasks.mrpc import DATASET
from stages.training.ibert_conversion import to_ibert
from stages.variants import Ingredients
from tests.building import as_if_trained, batch, build, make_ingredients
from tests.families import tiny_distilbert, tiny_roberta

ROOT = Path(__file__).parents[2]
NAMES = ["ibert_paper", "ibert_paper_qat"]
QUICK = {"ibert_paper": {}, "ibert_paper_qat": {"max_steps": 2}}
WITHOUT_TYPES = ["input_ids", "attention_mask"]


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    folder = tmp_path_factory.mktemp("ingredients")
    return make_ingredients(as_if_trained(tiny_bert, folder / "model"), folder)


@pytest.fixture(scope="module")
def artifacts(
    ingredients: Ingredients, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    return {name: build(name, ingredients, folder / name, **QUICK[name]) for name in NAMES}


def error(ingredients: Ingredients, artifact: Path, inputs: list[str] | None = None) -> float:
    """Largest distance from fp32's logits, as a share of how far those range."""
    texts = {name: array for name, array in batch().items() if not inputs or name in inputs}
    expected = predictor(load_checkpoint(ingredients.checkpoint))(texts)
    found = variants.get(read_manifest(artifact).variant).engine.load(artifact)(texts)
    return float(np.abs(found - expected).max() / np.ptp(expected, axis=0).max())


# What it rounds


@pytest.mark.parametrize("name", NAMES)
def test_activations_and_weights_are_integers_of_their_bits(
    name: str, artifacts: dict[str, Path]
) -> None:
    module = simulation.restore(artifacts[name])
    seen: list[tuple[int, float]] = []

    def look(layer: nn.Module, _: Any, output: Any) -> None:
        whole = output[0] / output[1]
        rounded = (whole - whole.round()).abs().max() <= 1e-3 * whole.abs().max().clamp(min=1)
        assert bool(rounded), layer
        seen.append((layer.activation_bit, float(whole.abs().max())))  # type: ignore[arg-type]

    for layer in simulation.of_kind(module, QuantAct):
        layer.register_forward_hook(look)
    predictor(module)(batch())
    assert {bits for bits, _ in seen} == {8, 16, 22}  # between layers, inside, before LayerNorm
    assert all(largest <= 2 ** (bits - 1) + 0.5 for bits, largest in seen)
    for layer in simulation.of_kind(module, QuantLinear):
        assert layer.weight_integer.equal(layer.weight_integer.round())
        assert layer.weight_integer.abs().max() <= 127


@pytest.mark.parametrize("name", NAMES)
def test_the_file_holds_weights_and_ranges_in_float32_and_nothing_that_follows_from_them(
    name: str, artifacts: dict[str, Path], ingredients: Ingredients
) -> None:
    state, fp32 = load_file(artifacts[name] / WEIGHTS), ingredients.checkpoint / WEIGHTS
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert not [key for key in state if key.endswith(simulation.DERIVED)]
    assert (artifacts[name] / WEIGHTS).stat().st_size > fp32.stat().st_size  # it saves nothing


def test_calibration_leaves_the_weights_as_they_were_fine_tuned(
    artifacts: dict[str, Path], ingredients: Ingredients
) -> None:
    state = load_file(artifacts["ibert_paper"] / WEIGHTS)
    expected = to_ibert(load_checkpoint(ingredients.checkpoint))
    for name, value in expected.named_parameters():
        assert value.equal(state[name]), name


def test_training_moves_weights_and_ranges(artifacts: dict[str, Path]) -> None:
    before, after = (load_file(artifacts[name] / WEIGHTS) for name in NAMES)
    assert before.keys() == after.keys()
    for name in ("query.weight", "query_activation.x_max", "softmax.act.x_max"):
        full = f"ibert.encoder.layer.0.attention.self.{name}"
        assert not before[full].equal(after[full]), name


# Ranges


def test_all_texts_count_alike_whatever_their_order(ingredients: Ingredients) -> None:
    def ranges(batches: list[Any]) -> dict[str, torch.Tensor]:
        module = to_ibert(load_checkpoint(ingredients.checkpoint))
        simulation.find_ranges(module, batches)
        state = simulation.lasting(module.state_dict())
        return {name: value for name, value in state.items() if ".x_m" in name or "shift" in name}

    some, others = batch(rows=4), batch(rows=3, length=7)
    one, other = ranges([some, others]), ranges([others, some])
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=3e-5, msg=name)


def test_the_range_inside_of_softmax_is_found_too(artifacts: dict[str, Path]) -> None:
    module = simulation.restore(artifacts["ibert_paper"])
    for softmax in simulation.of_kind(module, IntSoftmax):
        assert softmax.act.x_max > 1  # integers


def test_ranges_stand_still_when_it_predicts(artifacts: dict[str, Path]) -> None:
    module = simulation.restore(artifacts["ibert_paper"])
    before = {k: v.clone() for k, v in simulation.lasting(module.state_dict()).items()}
    predictor(module)(batch())
    for name, value in simulation.lasting(module.state_dict()).items():
        assert value.equal(before[name]), name


# What it is built from


@pytest.mark.parametrize("name", NAMES)
def test_a_roberta_is_simulated_as_well(name: str, tmp_path: Path) -> None:
    made = make_ingredients(tiny_roberta(tmp_path / "model"), tmp_path, WITHOUT_TYPES)
    artifact = build(name, made, tmp_path / "artifact", **QUICK[name])
    assert read_manifest(artifact).quantized_ops == 15
    assert 0 < error(made, artifact, WITHOUT_TYPES) < 0.3


def test_a_gain_of_zero_does_no_harm(tiny_bert: Path, tmp_path: Path) -> None:
    """transformers divides LayerNorm's bias by it."""
    model = load_checkpoint(as_if_trained(tiny_bert, tmp_path / "trained"))
    norm: Any = model.get_submodule("bert.embeddings.LayerNorm")
    with torch.no_grad():
        norm.weight[3] = 0.0
    shutil.copytree(tiny_bert, tmp_path / "model")
    model.save_pretrained(tmp_path / "model")  # type: ignore[operator]
    made = make_ingredients(tmp_path / "model", tmp_path)
    assert error(made, build("ibert_paper", made, tmp_path / "artifact")) < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_a_family_that_ibert_cannot_hold_is_skipped(name: str, tmp_path: Path) -> None:
    made = make_ingredients(tiny_distilbert(tmp_path / "model"), tmp_path, WITHOUT_TYPES)
    skipped = read_manifest(build(name, made, tmp_path / "artifact", **QUICK[name])).skipped
    assert "IBert can hold bert, roberta, not distilbert; int8_embeddings runs every" in skipped


def test_weights_that_are_no_number_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    made = make_ingredients(tiny_bert, tmp_path)
    model = load_checkpoint(tiny_bert)
    next(model.parameters()).data[0, 0] = torch.nan
    model.save_pretrained(made.checkpoint)  # type: ignore[operator]
    with pytest.raises(UserError, match=r"word_embeddings\.weight holds NaN"):
        build("ibert_paper", made, tmp_path / "artifact")


def test_weights_of_another_architecture_are_refused(
    ingredients: Ingredients, tmp_path: Path
) -> None:
    artifact = build("ibert_paper", ingredients, tmp_path / "artifact")
    config = json.loads((artifact / "config.json").read_text())
    write_json(artifact / "config.json", config | {"num_hidden_layers": 1})
    with pytest.raises(UserError, match=r"does not fit its config\.json"):
        simulation.restore(artifact)


# A reference


@pytest.mark.parametrize("name", NAMES)
def test_it_says_that_it_is_a_simulation(
    name: str, ingredients: Ingredients, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(name, ingredients, tmp_path / "artifact", **QUICK[name])
    said = capsys.readouterr().out
    assert f"{name}: a simulation in floating point: neither small nor fast\n" in said


@pytest.mark.parametrize("name", NAMES)
def test_it_does_not_ship(name: str, artifacts: dict[str, Path], tmp_path: Path) -> None:
    expected = f"{name} is a reference and does not ship; set export.variant to ibert"
    with pytest.raises(UserError, match=f"^{expected}$"):
        variants.get(name).engine.export(artifacts[name], tmp_path)


def test_auto_leaves_it_out_even_if_it_were_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "metrics/mrpc", tmp_path / "metrics/mrpc")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    write_text(tmp_path / "data/mrpc/task.json", DATASET.task.model_dump_json())
    write_checksums(tmp_path / "data/mrpc")
    monkeypatch.chdir(tmp_path)
    expected = what_ships(rows_of("mrpc"), "mrpc")
    best = Path("metrics/mrpc/compare") / f"{expected.variant}.json"
    row = json.loads(best.read_text())
    write_json(best.with_stem("ibert_paper"), row | {"p90_ms": 0.001, "size_mb": 0.1})
    assert what_ships(rows_of("mrpc"), "mrpc") == expected
