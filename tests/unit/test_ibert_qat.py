"""Training with ibert's roundings: what is simulated is what its integers compute."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import gelu

from stages import variants
from stages.engines.ibert.engine import safe_weights
from stages.engines.safe_l.rounding import quantize_for
from stages.model.artifact import WEIGHTS
from stages.model.classifier import load_checkpoint, predictor
from stages.variants import Ingredients
from stages.variants.ibert_qat.fake_rounding import PolynomialGELU, RoundedLinear, prepare
from tests.building import as_if_trained, batch, build, calibrate, make_ingredients

SETTINGS: dict[str, object] = {"max_steps": 6, "batch_size": 8, "learning_rate": 1e-3, "rows": 32}


def rounded_linear(inputs: int = 40, outputs: int = 5) -> RoundedLinear:
    torch.manual_seed(0)
    linear = nn.Linear(inputs, outputs)
    return RoundedLinear(linear, quantize_for(linear.weight.detach(), 4))


def test_a_row_is_rounded_to_7_bits_with_a_scale_of_its_own() -> None:
    layer = rounded_linear()
    rows = torch.randn(3, 40) * torch.tensor([[1.0], [100.0], [0.01]])
    ones = RoundedLinear(nn.Linear(40, 40, bias=False), quantize_for(torch.eye(40), 1))
    ones.weight.data = torch.eye(40)
    seen = ones(rows)
    for row, out in zip(rows, seen, strict=True):
        step = (row.max().clamp(min=0) - row.min().clamp(max=0)) / 127
        assert len(torch.unique(torch.round(out / step))) <= 128
        assert (out - row).abs().max() <= 0.51 * step
    torch.testing.assert_close(layer(rows)[1:2], layer(rows[1:2]))


def test_the_gradients_are_those_of_a_linear_with_the_rounded_numbers() -> None:
    layer = rounded_linear()
    x, factor = torch.randn(7, 40, requires_grad=True), torch.randn(7, 5)
    (layer(x) * factor).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    levels = torch.round(layer.weight.detach() / layer.scale) * layer.scale
    torch.testing.assert_close(x.grad, factor @ levels)
    step = (x.detach().amax(1) - x.detach().amin(1)) / 127
    reach = (factor.abs() * step[:, None]).sum(0)[:, None] * 0.51
    assert ((layer.weight.grad - factor.T @ x.detach()).abs() <= reach + 1e-6).all()


def test_its_gelu_is_that_of_the_integers() -> None:
    x = torch.linspace(-8, 8, 4001, requires_grad=True)
    y = PolynomialGELU()(x)
    assert (y - gelu(x)).abs().max() < 0.0025
    y.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    folder = tmp_path_factory.mktemp("ingredients")
    return make_ingredients(as_if_trained(tiny_bert, folder / "model"), folder, rows=64)


def test_the_prepared_model_computes_nearly_what_ibert_does(
    ingredients: Ingredients, tmp_path: Path
) -> None:
    model = load_checkpoint(ingredients.checkpoint)
    plain = predictor(model)(batch())
    prepare(model, safe_weights(model, 0.03))
    simulated = predictor(model)(batch())
    real = variants.get("ibert").engine.load(build("ibert", ingredients, tmp_path / "ibert"))
    spread = float(np.ptp(plain))
    assert np.abs(simulated - plain).max() > 1e-4 * spread  # it does round
    # Between 7 bits of a row in float and in integers there are steps that tip over.
    assert np.abs(simulated - real(batch())).mean() < 0.02 * spread


def test_training_moves_the_weights_and_build_takes_them(
    ingredients: Ingredients, tmp_path: Path
) -> None:
    trained = calibrate("ibert_qat", ingredients, tmp_path / "learned", **SETTINGS)
    before = load_file(ingredients.checkpoint / WEIGHTS)
    after = load_file(trained.learned / WEIGHTS)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    qat = build("ibert_qat", ingredients, tmp_path / "qat", **SETTINGS)
    plain = build("ibert", ingredients, tmp_path / "plain", rows=32)
    assert (qat / WEIGHTS).read_bytes() != (plain / WEIGHTS).read_bytes()
    assert (qat / WEIGHTS).stat().st_size == (plain / WEIGHTS).stat().st_size


def test_a_model_that_ibert_does_not_know_is_skipped_before_training(
    tmp_path: Path, tiny_bert: Path
) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = tmp_path / "tanh"
    as_if_trained(tiny_bert, folder)
    config = AutoConfig.from_pretrained(folder, hidden_act="tanh")
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    ingredients = make_ingredients(folder, tmp_path)
    with pytest.raises(variants.Skipped, match="has GELU and ReLU, not tanh"):
        calibrate("ibert_qat", ingredients, tmp_path / "learned", **SETTINGS)
