"""Quantization-aware training: what it simulates is what the int8 artifact computes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from stages import variants
from stages.engines.int8.layers import layers
from stages.engines.int8.quantizers import Activations, Range, quantize_weight
from stages.model.artifact import WEIGHTS
from stages.model.classifier import load_checkpoint, predictor
from stages.training.loop import UNFINISHED
from stages.variants import Ingredients
from stages.variants.int8_qat.fake_quant import (
    FakeQuantEmbedding,
    FakeQuantLinear,
    prepare,
    ranges,
    round_weight,
)
from tests.building import as_if_trained, batch, build, calibrate, make_ingredients

BITS, STEPS = 7, 6
SETTINGS: dict[str, object] = {"max_steps": STEPS, "batch_size": 8, "learning_rate": 1e-3}


def linear(inputs: int = 6, outputs: int = 4, decay: float = 0.9) -> FakeQuantLinear:
    torch.manual_seed(0)
    return FakeQuantLinear(nn.Linear(inputs, outputs), BITS, decay)


# ---- gradients


@pytest.mark.parametrize("shape", [(4, 6), (3, 2), (2, 5, 8)])
def test_the_gradient_of_a_rounded_weight_is_that_of_the_identity(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight, factor = torch.randn(shape, requires_grad=True), torch.randn(shape)
    rounded = round_weight(weight)
    assert not torch.equal(rounded, weight)
    (rounded * factor).sum().backward()
    assert torch.equal(weight.grad, factor)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [7, 8])
def test_a_weight_is_rounded_as_it_will_be_stored(bits: int) -> None:
    torch.manual_seed(0)
    weight, levels = torch.randn(5, 9), Activations("static", bits=bits).weight_levels
    q, scale = quantize_weight("w", weight, levels=levels)
    torch.testing.assert_close(round_weight(weight, levels), q.float() * scale[:, None])


def test_a_linears_gradients_are_those_of_a_linear_with_the_rounded_numbers() -> None:
    layer = linear()
    x = torch.randn(10, 6, requires_grad=True)
    factor = torch.randn(10, 4)
    (layer(x) * factor).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    torch.testing.assert_close(x.grad, factor @ round_weight(layer.weight).detach())
    step = float(layer.high - layer.low) / (2**BITS - 1)
    # Rounded to at most half a step, each input moves a weight's gradient that much at most.
    reach = factor.abs().sum(dim=0)[:, None] * step * 0.51
    assert ((layer.weight.grad - factor.T @ x.detach()).abs() <= reach).all()
    torch.testing.assert_close(layer.bias.grad, factor.sum(dim=0))


def test_an_embeddings_gradient_reaches_the_rows_that_were_looked_up() -> None:
    torch.manual_seed(0)
    layer = FakeQuantEmbedding(nn.Embedding(5, 3))
    layer(torch.tensor([1, 3, 3])).sum().backward()
    expected = torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0])[:, None].expand(5, 3)
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, expected)


# ---- ranges


def between(low: float, high: float) -> torch.Tensor:
    return torch.linspace(low, high, 6).reshape(1, 6)


def test_a_range_is_a_moving_average_that_starts_at_the_first_batch() -> None:
    layer = linear(decay=0.9)
    layer(between(-1, 2))
    assert layer.range() == pytest.approx(Range(-1, 2))
    layer(between(-3, 12))
    assert layer.range() == pytest.approx(Range(0.9 * -1 + 0.1 * -3, 0.9 * 2 + 0.1 * 12))
    layer(between(0, 0.5))
    assert layer.range() == pytest.approx(Range(0.9 * -1.2, 0.9 * 3.0 + 0.1 * 0.5))


def test_a_range_stands_still_outside_of_training() -> None:
    layer = linear()
    layer(between(-1, 2))
    layer.eval()(between(-50, 50))
    assert layer.range() == pytest.approx(Range(-1, 2))


def test_outside_of_training_an_input_is_cut_to_the_range() -> None:
    layer = linear()
    layer(between(-1, 2))
    layer.eval()
    torch.testing.assert_close(layer(between(-50, 50)), layer(between(-50, 50).clamp(-1, 2)))


# ---- the whole model


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    folder = tmp_path_factory.mktemp("ingredients")
    return make_ingredients(as_if_trained(tiny_bert, folder / "model"), folder, rows=64)


@pytest.fixture(scope="module", params=[7, 8])
def bits(request: pytest.FixtureRequest) -> int:
    """Of the activations; with 8 the weights get 7."""
    return int(request.param)


@pytest.fixture(scope="module")
def artifact(bits: int, ingredients: Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qat") / "artifact"
    return build("int8_qat", ingredients, folder, bits=bits, max_distance_from_fp32=5, **SETTINGS)


@pytest.fixture(scope="module")
def trained(
    bits: int, ingredients: Ingredients, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, torch.Tensor]:
    """What it is built of: weights in FP32, and a range per Linear."""
    folder = tmp_path_factory.mktemp("qat") / "learned"
    calibrate("int8_qat", ingredients, folder, bits=bits, **SETTINGS)
    return load_file(folder / WEIGHTS)


def test_preparing_leaves_weights_and_their_names_as_they_are(ingredients: Ingredients) -> None:
    before = load_checkpoint(ingredients.checkpoint).state_dict()
    module = prepare(load_checkpoint(ingredients.checkpoint), BITS, 0.9)
    after = module.state_dict()
    added = {name for name in after if name.rpartition(".")[2] in ("low", "high")}
    assert after.keys() - added == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not layers(module, nn.Linear)
    assert not layers(module, nn.Embedding)
    trainable = {name for name, _ in module.named_parameters()}
    assert trainable == {
        name for name, _ in load_checkpoint(ingredients.checkpoint).named_parameters()
    }


def test_training_moves_the_weights_and_finds_every_range(
    ingredients: Ingredients, trained: dict[str, torch.Tensor]
) -> None:
    before = load_checkpoint(ingredients.checkpoint)
    weights = before.state_dict()
    query = "bert.encoder.layer.0.attention.self.query"
    assert not torch.equal(trained[f"{query}.weight"], weights[f"{query}.weight"])
    spans = ranges(trained)
    assert spans.keys() == layers(before, nn.Linear).keys()
    assert all(span.low < span.high for span in spans.values())


def test_the_artifact_computes_what_was_simulated(
    bits: int, ingredients: Ingredients, artifact: Path, trained: dict[str, torch.Tensor]
) -> None:
    simulated = prepare(load_checkpoint(ingredients.checkpoint), bits, 0.99)
    simulated.load_state_dict(trained)
    texts = batch(rows=200, length=20)
    expected = predictor(simulated.eval())(texts)
    found = variants.get("int8_qat").engine.load(artifact)(texts)
    unit = np.ptp(expected, axis=0).max()
    # Where an activation lies between two levels, float32 may round it either way.
    assert np.abs(found - expected).max() < 0.02 * unit
    assert np.median(np.abs(found - expected)) < 1e-5 * unit
    clear = np.abs(expected[:, 0] - expected[:, 1]) > 0.02 * unit
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found[clear].argmax(axis=1), expected[clear].argmax(axis=1))
    assert len(set(expected.argmax(axis=1))) == 2


def test_the_same_seed_trains_the_same_weights(
    bits: int, ingredients: Ingredients, trained: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    again = calibrate("int8_qat", ingredients, tmp_path / "again", bits=bits, **SETTINGS)
    weights = load_file(again.learned / WEIGHTS)
    assert weights.keys() == trained.keys()
    assert all(torch.equal(weights[name], trained[name]) for name in trained)


def test_checkpoints_are_kept_until_the_artifact_is_built(
    bits: int, ingredients: Ingredients, artifact: Path, tmp_path: Path
) -> None:
    calibrate("int8_qat", ingredients, tmp_path / "learned", bits=bits, **SETTINGS)
    assert list((tmp_path / UNFINISHED).iterdir())
    assert not list((artifact.parent / UNFINISHED).iterdir())
