"""torchao's int8: stored without loss, skipped with a reason where it cannot run."""

import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import variants
from stages.measure.size import bytes_by_part
from stages.model.artifact import read_manifest
from stages.model.classifier import load_checkpoint, predictor
from stages.plumbing.command import UserError
from stages.variants.torchao_int8 import engine as torchao_artifact
from stages.variants.torchao_int8 import layers
from tests.building import INPUTS, batch, build, make_ingredients
from tests.unit.conftest import OnCpu

AGAIN = "dvc repro -f -s quantize@mrpc-42-torchao_int8 && dvc repro"


def built(ingredients: variants.Ingredients, folder: Path, **settings: float) -> Path:
    return build("torchao_int8", ingredients, folder, **settings)


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> variants.Ingredients:
    return make_ingredients(tiny_bert, tmp_path_factory.mktemp("ingredients"))


@pytest.fixture
def installed() -> None:
    pytest.importorskip("torchao", reason="optional: requirements-torchao.txt")


def test_without_torchao_it_is_skipped_and_says_what_to_do(
    ingredients: variants.Ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    artifact = built(ingredients, tmp_path / "artifact")
    remedy = f"pip install -r requirements-torchao.txt, then {AGAIN}"
    assert read_manifest(artifact).skipped == f"torchao is not installed; {remedy}"
    assert not (artifact / "model.safetensors").exists()


def test_an_artifact_from_elsewhere_cannot_be_loaded_without_torchao(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-torchao\.txt"):
        torchao_artifact.load(tmp_path)


def test_a_torchao_that_does_not_fit_torch_is_not_called_missing(
    ingredients: variants.Ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchao"]:
        monkeypatch.delitem(sys.modules, name)
    package = tmp_path / "path" / "torchao"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('undefined symbol: foo')")
    monkeypatch.syspath_prepend(str(package.parent))
    with pytest.raises(UserError, match=r"does not work with this torch .*undefined symbol: foo"):
        built(ingredients, tmp_path / "artifact")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("vnni", "largest"), [(True, 128), (False, 64)])
def test_loading_gives_the_logits_of_the_module_that_was_quantized(
    vnni: bool, largest: int, ingredients: variants.Ingredients, tmp_path: Path, on_cpu: OnCpu
) -> None:
    on_cpu("avx2", *["avx512_vnni"] * vnni)
    artifact = built(ingredients, tmp_path / "artifact")
    fresh = load_checkpoint(ingredients.checkpoint)
    expected = predictor(fresh)(batch())
    layers.quantize_linears(fresh, reduce_range=not vnni)
    found = torchao_artifact.load(artifact)(batch())
    np.testing.assert_array_equal(found, predictor(fresh)(batch()))
    assert 0 < np.abs(found - expected).max() < 0.05
    weights = [one.weight.qdata for one in layers.quantized_linears(fresh).values()]
    assert max(int(weight.int().abs().max()) for weight in weights) in (largest, largest - 1)


@pytest.mark.usefixtures("installed")
def test_linears_are_counted_and_their_bytes_too(
    ingredients: variants.Ingredients, tmp_path: Path
) -> None:
    artifact = built(ingredients, tmp_path / "artifact")
    # Two layers of query, key, value, output, up, down; the pooler; the classifier.
    assert torchao_artifact.count_quantized(artifact) == 14
    sizes = torchao_artifact.tensor_bytes(artifact)
    assert sizes["bert.encoder.layer.1.output.dense.weight"] == 64 * 32
    assert sizes["bert.encoder.layer.1.output.dense.weight_scale"] == 4 * 32
    parts, file = bytes_by_part(sizes), (artifact / "model.safetensors").stat().st_size
    assert 0.8 * file < sum(parts.values()) <= file
    again = built(ingredients, tmp_path / "again")
    for name in ("model.safetensors", "manifest.json"):
        assert (again / name).read_bytes() == (artifact / name).read_bytes()


@pytest.mark.usefixtures("installed")
def test_weights_of_another_architecture_are_refused(
    ingredients: variants.Ingredients, tmp_path: Path
) -> None:
    artifact = built(ingredients, tmp_path / "artifact")
    config = artifact / "config.json"
    config.write_text(
        config.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 1')
    )
    with pytest.raises(UserError, match=r"does not fit its config\.json"):
        torchao_artifact.load(artifact)


@pytest.mark.usefixtures("installed")
def test_eight_bits_on_a_cpu_where_they_overflow_are_announced(
    ingredients: variants.Ingredients,
    tmp_path: Path,
    on_cpu: OnCpu,
    capfd: pytest.CaptureFixture[str],
) -> None:
    on_cpu("avx2", "avx512_vnni")
    artifact = built(ingredients, tmp_path / "artifact")
    capfd.readouterr()
    torchao_artifact.load(artifact)
    assert capfd.readouterr().err == ""
    on_cpu("avx2")
    torchao_artifact.load(artifact)
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert "dvc repro -f -s quantize@mrpc-42-torchao_int8" in line


@pytest.mark.usefixtures("installed")
def test_a_batch_over_the_limit_is_skipped_with_its_seconds(
    ingredients: variants.Ingredients, tmp_path: Path
) -> None:
    artifact = built(ingredients, tmp_path / "artifact", max_s_per_batch=1e-9)
    reason = read_manifest(artifact).skipped
    assert re.search(r"takes torchao about \S+ s on this CPU", reason)
    assert "over the 1e-09 s of quantize.torchao_int8.max_s_per_batch" in reason
    assert AGAIN in reason
    assert not (artifact / "model.safetensors").exists()


@pytest.mark.usefixtures("installed")
def test_a_batch_that_would_take_minutes_is_never_run(
    ingredients: variants.Ingredients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, tokens = [0.0], []

    class Slow(torch.nn.Module):
        config = load_checkpoint(ingredients.checkpoint).config

        def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> object:
            tokens.append(input_ids.numel())
            clock[0] += 0.05 * input_ids.numel()
            return type("Output", (), {"logits": torch.zeros(len(input_ids), 2)})

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    found = layers.seconds_per_batch(Slow(), INPUTS, max_length=64, limit=5.0)
    assert found == pytest.approx(0.05 * 8 * 64)
    assert max(tokens) <= 32
    found = layers.seconds_per_batch(Slow(), INPUTS, max_length=64, limit=20.0)
    assert found == pytest.approx(0.05 * 8 * 64)
    assert max(tokens) == 8 * 64


@pytest.mark.usefixtures("installed")
def test_what_importing_it_prints_stays_out_of_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("torchao")
    seen: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", seen.append)
    monkeypatch.setattr(logger, "handlers", [handler])

    def noisy(_: str) -> None:
        logger.warning("no kernel")
        logger.error("broken")

    monkeypatch.setattr("importlib.import_module", noisy)
    before = logger.level
    layers.torchao()
    assert [record.getMessage() for record in seen] == ["broken"]
    assert logger.level == before
