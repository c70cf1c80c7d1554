"""Every variant: stored and loaded without loss, really quantized, exported faithfully."""

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    set_seed,
)

from stages import variants
from stages.engines.onnx import building as onnx_building
from stages.measure.size import MB, bytes_by_part, part_of
from stages.model import classifier
from stages.model.artifact import WEIGHTS, read_manifest, verify
from stages.model.classifier import load_checkpoint, predictor
from stages.plumbing.command import UserError
from stages.plumbing.manifest import MANIFEST
from stages.running.shipped.predict import LOADERS
from stages.size_report import weight_files
from stages.variants import Ingredients
from tests.building import as_if_trained, batch, build, make_ingredients

# Two layers of query, key, value, output, up, down; the pooler; the classifier.
LINEARS, EMBEDDINGS = 14, 3
ALL = LINEARS + EMBEDDINGS


@dataclass(frozen=True)
class Expected:
    """What a variant promises on the tiny BERT.

    Attributes:
        error: largest distance from fp32 in a logit, as a share of how far fp32's logits range.
        operators: that run in reduced precision, at least and at most.
        padding: how far padding may move a logit, as a share of the same.
        parity: how far the exported ONNX may be from the variant, likewise.
        settings: that keep calibration short.
    """

    error: float
    operators: tuple[int, int] = (LINEARS, LINEARS)
    padding: float = 1e-5
    parity: float = 0.02
    files: tuple[str, ...] = ("model.pt", "model.onnx")
    settings: dict[str, object] = field(default_factory=dict)


ONNX = ("model.onnx",)
# Dynamic per-batch scales also see the padded positions.
SEES_PADDING = 0.1
EXPECTED = {
    "fp32": Expected(0.0, (0, 0)),
    "fp16_dynamic": Expected(0.002),
    "int8_dynamic": Expected(0.1, padding=SEES_PADDING),
    "int8_dynamic_per_channel": Expected(0.1, padding=SEES_PADDING),
    "int8_dynamic_symmetric": Expected(0.15, padding=SEES_PADDING),
    "int8_per_token": Expected(0.05),
    "int8_embeddings": Expected(0.05, (ALL, ALL)),
    # Its last layer, which gives the logits, stays in fp32.
    "int8_fast": Expected(0.05, (ALL - 1, ALL - 1), padding=0.0, files=(WEIGHTS,)),
    # Scales per token, exact sums, no padding: the same bits.
    "ibert": Expected(0.05, (ALL, ALL), padding=0.0, parity=0.0, files=(WEIGHTS, "model.onnx")),
    "ibert_qat": Expected(
        0.15,
        (ALL, ALL),
        padding=0.0,
        parity=0.0,
        files=(WEIGHTS, "model.onnx"),
        settings={"max_steps": 2, "rows": 16},
    ),
    # Simulated in floating point; pooler and classifier are not.
    "ibert_paper": Expected(0.15, (ALL - 2, ALL - 2), padding=0.01, files=()),
    "ibert_paper_qat": Expected(
        0.15, (ALL - 2, ALL - 2), padding=0.01, files=(), settings={"max_steps": 2}
    ),
    "int8_onnx": Expected(0.1, (ALL, ALL), padding=SEES_PADDING, files=ONNX),
    "int8_onnx_u8": Expected(0.1, (ALL, ALL), padding=SEES_PADDING, files=ONNX),
    "int8_static": Expected(0.15, (ALL, ALL), settings={"rows": 16}),
    "int8_qat": Expected(0.15, (ALL, ALL), settings={"max_steps": 2}),
    "int8_mixed": Expected(0.15, (1, ALL), settings={"rows": 16, "calibration_rows": 16}),
    # Its own sums in float32 depend on the shape, and one activation may round the other way.
    "torchao_int8": Expected(0.1, padding=0.01, files=ONNX),
}
# An export to ONNX takes seconds, so the whole model is exported once for each way to export it.
# These have another's `export`; test_onnx_layers.py has the layers of all.
EXPORTED_AS = {
    "fp16_dynamic": "int8_dynamic_per_channel",
    "int8_dynamic": "int8_dynamic_per_channel",
    "int8_dynamic_symmetric": "int8_static",
    "int8_per_token": "int8_static",
    "int8_embeddings": "int8_static",
    "int8_mixed": "int8_static",
    "int8_qat": "int8_static",
    "ibert_qat": "ibert",
}


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    folder = tmp_path_factory.mktemp("ingredients")
    return make_ingredients(as_if_trained(tiny_bert, folder / "model"), folder)


@pytest.fixture(scope="module", params=variants.names())
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "torchao_int8" and find_spec("torchao") is None:
        pytest.skip("torchao is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def one_fp32_graph() -> Iterator[None]:
    """All variants that start from the FP32 graph get the one that the first of them exported."""
    export, made = onnx_building.export_checked, list[bytes]()

    def once(ingredients: Ingredients, target: Path) -> None:
        if not made:
            export(ingredients, target)
            made.append(target.read_bytes())
        target.write_bytes(made[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_building, "export_checked", once)
        yield


@pytest.fixture(scope="module")
def artifact(
    name: str,
    ingredients: Ingredients,
    one_fp32_graph: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("artifact") / name
    return build(name, ingredients, folder, **EXPECTED[name].settings)


@pytest.fixture(scope="module")
def reference(ingredients: Ingredients) -> np.ndarray:
    logits: np.ndarray = predictor(load_checkpoint(ingredients.checkpoint))(batch())
    return logits


@pytest.fixture(scope="module")
def unit(reference: np.ndarray) -> float:
    """How far fp32's logits range over the rows: the yardstick of all tolerances."""
    return float(np.ptp(reference, axis=0).max())


def test_loading_twice_gives_the_same_logits_bit_for_bit(name: str, artifact: Path) -> None:
    variant = variants.get(name)
    first, second = variant.engine.load(artifact)(batch()), variant.engine.load(artifact)(batch())
    assert first.dtype == np.float32
    assert first.shape == (5, 2)
    np.testing.assert_array_equal(first, second)


def test_logits_stay_near_fp32_and_are_not_fp32s(
    name: str, artifact: Path, reference: np.ndarray, unit: float
) -> None:
    logits = variants.get(name).engine.load(artifact)(batch())
    error = np.abs(logits - reference).max() / unit
    assert error <= EXPECTED[name].error
    assert (error > 0) == (name != variants.REFERENCE)


def test_it_really_runs_in_reduced_precision(name: str, artifact: Path) -> None:
    at_least, at_most = EXPECTED[name].operators
    assert at_least <= variants.get(name).engine.count_quantized(artifact) <= at_most


def test_padding_does_not_change_the_answer_beyond_quantization_noise(
    name: str, artifact: Path, unit: float
) -> None:
    predict, short = variants.get(name).engine.load(artifact), batch(rows=3)
    padded = {key: np.pad(array, ((0, 0), (0, 9))) for key, array in short.items()}
    moved = np.abs(predict(short) - predict(padded)).max() / unit
    assert moved <= EXPECTED[name].padding


def distances(name: str, artifact: Path, folder: Path, files: Iterable[str]) -> list[float]:
    """How far exported files are from the variant, in other shapes than they were traced with."""
    expected = variants.get(name).engine.load(artifact)(batch())
    exported = [LOADERS[Path(file).suffix](folder / file, 1)(batch()) for file in files]
    return [float(np.abs(logits - expected).max()) for logits in exported]


def test_an_export_gives_the_variants_answers(
    name: str, artifact: Path, tmp_path: Path, unit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not variants.get(name).ships:
        pytest.skip(f"{name} is a reference, see test_ibert_paper.py")
    engine = variants.get(name).engine
    for module in (engine, classifier):  # which takes seconds, see below
        monkeypatch.setattr(module, "write_onnx", lambda *_: None, raising=False)
    files = engine.export(artifact, tmp_path)
    assert tuple(files) == EXPECTED[name].files
    traced = [file for file in files if not file.endswith(".onnx")]
    assert max(distances(name, artifact, tmp_path, traced), default=0) / unit <= 1e-6


@pytest.mark.slow
def test_an_onnx_export_gives_the_variants_answers(
    name: str, artifact: Path, tmp_path: Path, unit: float
) -> None:
    if "model.onnx" not in EXPECTED[name].files:
        pytest.skip(f"{name} has no form in ONNX")
    if other := EXPORTED_AS.get(name):
        assert variants.get(name).engine.export is variants.get(other).engine.export
        return
    variants.get(name).engine.export(artifact, tmp_path)
    (distance,) = distances(name, artifact, tmp_path, ["model.onnx"])
    assert distance / unit <= EXPECTED[name].parity


def test_stored_bytes_are_accounted_for_by_part(name: str, artifact: Path) -> None:
    tensors = variants.get(name).engine.tensor_bytes(artifact)
    assert all(size > 0 for size in bytes_by_part(tensors).values())
    (file,) = (artifact / file for file in weight_files(read_manifest(artifact).sha256))
    content = file.read_bytes()
    if file.name == WEIGHTS:  # length of the header, header, tensors
        (header,) = struct.unpack("<Q", content[:8])
        assert sum(tensors.values()) == len(content) - 8 - header
    else:  # the graph takes the rest
        assert 0 < sum(tensors.values()) < len(content)


def test_an_altered_artifact_is_refused(ingredients: Ingredients, tmp_path: Path) -> None:
    artifact = build("int8_dynamic", ingredients, tmp_path / "artifact")
    path = artifact / "config.json"
    original = path.read_bytes()
    path.write_bytes(original + b" ")
    with pytest.raises(UserError, match=r"config\.json was altered"):
        verify(artifact)
    path.write_bytes(original)
    verify(artifact)


def test_int8_dynamic_equals_torchs_quantize_dynamic_bit_for_bit(
    ingredients: Ingredients, tmp_path: Path
) -> None:
    from torch.ao.quantization import quantize_dynamic

    artifact = build("int8_dynamic", ingredients, tmp_path / "artifact")
    torch.backends.quantized.engine = read_manifest(artifact).parameters["engine"]
    fp32 = load_checkpoint(ingredients.checkpoint)
    theirs = quantize_dynamic(fp32, {torch.nn.Linear}, dtype=torch.qint8)
    found = variants.get("int8_dynamic").engine.load(artifact)(batch())
    np.testing.assert_array_equal(found, predictor(theirs)(batch()))


@pytest.mark.parametrize("engine", ["x86", "fbgemm", "onednn"])
def test_int8_dynamic_runs_as_many_int8_linears_as_it_claims(
    engine: str, ingredients: Ingredients, tmp_path: Path
) -> None:
    artifact = build("int8_dynamic", ingredients, tmp_path / "artifact", engine=engine)
    predict = variants.get("int8_dynamic").engine.load(artifact)
    with torch.autograd.profiler.profile() as profile:
        predict(batch())
    executed = [e for e in profile.function_events if e.name == "quantized::linear_dynamic"]
    assert len(executed) == variants.get("int8_dynamic").engine.count_quantized(artifact) == LINEARS


@pytest.mark.parametrize("name", ["int8_dynamic", "int8_embeddings"])
def test_weights_of_another_architecture_are_refused(
    name: str, ingredients: Ingredients, tmp_path: Path
) -> None:
    artifact = build(name, ingredients, tmp_path / "artifact")
    config = json.loads((artifact / "config.json").read_text())
    (artifact / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"does not fit its config\.json"):
        variants.get(name).engine.load(artifact)


@pytest.mark.parametrize("bits", [7, 8])
def test_an_int8_artifact_says_itself_how_it_computes(
    bits: int, ingredients: Ingredients, tmp_path: Path
) -> None:
    variant = variants.get("int8_embeddings")
    artifact = build("int8_embeddings", ingredients, tmp_path / "artifact", bits=bits)
    expected = variant.engine.load(artifact)(batch())
    manifest = json.loads((artifact / MANIFEST).read_text())
    (artifact / MANIFEST).write_text(json.dumps(manifest | {"parameters": {"bits": 15 - bits}}))
    np.testing.assert_array_equal(variant.engine.load(artifact)(batch()), expected)


def test_an_int8_artifact_that_does_not_say_so_is_refused(
    ingredients: Ingredients, tmp_path: Path
) -> None:
    artifact = build("int8_per_token", ingredients, tmp_path / "artifact")
    save_file(load_file(artifact / WEIGHTS), artifact / WEIGHTS)
    with pytest.raises(UserError, match=r"does not say how .*run 'dvc repro'"):
        variants.get("int8_per_token").engine.load(artifact)


@pytest.mark.parametrize("name", ["fp16_dynamic", "int8_dynamic_per_channel", "int8_embeddings"])
def test_the_same_checkpoint_gives_the_same_bytes(
    name: str, ingredients: Ingredients, tmp_path: Path
) -> None:
    first, second = (build(name, ingredients, tmp_path / each) for each in ("first", "second"))
    assert (first / WEIGHTS).read_bytes() == (second / WEIGHTS).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8_dynamic", "int8_embeddings"])
def test_a_model_without_token_types_is_quantized_and_exported(name: str, tmp_path: Path) -> None:
    set_seed(0)
    config = DistilBertConfig(vocab_size=70, dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    inputs = ["input_ids", "attention_mask"]
    DistilBertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    ingredients = make_ingredients(tmp_path / "model", tmp_path, inputs)
    artifact = build(name, ingredients, tmp_path / "artifact")
    texts = {key: batch()[key] for key in inputs}
    expected = variants.get(name).engine.load(artifact)(texts)
    for file in variants.get(name).engine.export(artifact, tmp_path):
        found = LOADERS[Path(file).suffix](tmp_path / file, 1)(texts)
        np.testing.assert_allclose(found, expected, atol=2e-3, err_msg=file)


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        ("bert.embeddings.word_embeddings.weight", "word_embeddings"),
        ("bert.embeddings.LayerNorm.bias", "other_embeddings"),
        ("bert.encoder.layer.3.attention.self.query.weight_scale", "encoder"),
        ("distilbert.transformer.layer.0.ffn.lin1.weight", "encoder"),
        ("roberta.encoder.layer.11.output.dense.bias", "encoder"),
        ("bert.pooler.dense.weight", "head"),
        ("classifier.out_proj.bias", "head"),
    ],
)
def test_tensors_are_told_apart_by_name(tensor: str, part: str) -> None:
    assert part_of(tensor) == part


def save_zeros(config: BertConfig, folder: Path) -> None:
    """A model of this size, without the seconds that random weights take."""
    with torch.device("meta"):
        module = BertForSequenceClassification(config)
    module = module.to_empty(device="cpu")
    for parameter in module.parameters():
        parameter.data.zero_()
    module.save_pretrained(folder)


def stored_mb(names: Iterable[str], config: BertConfig, folder: Path) -> dict[str, float]:
    """Variant -> size of its weights; one layer is built, because all take the same room."""
    layers, config.num_hidden_layers = config.num_hidden_layers, 1
    save_zeros(config, folder / "model")
    ingredients = make_ingredients(folder / "model", folder)
    sizes = {}
    for name in names:
        artifact = build(name, ingredients, folder / name)
        layer = bytes_by_part(variants.get(name).engine.tensor_bytes(artifact))["encoder"]
        sizes[name] = ((artifact / WEIGHTS).stat().st_size + (layers - 1) * layer) / MB
    return sizes


def test_bert_base_has_the_sizes_that_the_tutorial_prints_and_better_ones(tmp_path: Path) -> None:
    """438 MB and 181 MB, about 90 MB of each word embeddings; half and a quarter of 438 MB."""
    names = ("fp32", "int8_dynamic", "fp16_dynamic", "int8_embeddings")
    sizes = stored_mb(names, BertConfig(), tmp_path)
    assert sizes["fp32"] == pytest.approx(438, rel=0.01)
    assert sizes["int8_dynamic"] == pytest.approx(181, rel=0.01)
    assert sizes["fp16_dynamic"] == pytest.approx(sizes["fp32"] / 2, rel=0.005)
    assert sizes["int8_embeddings"] <= 110.5
    for name in ("fp32", "int8_dynamic"):
        parts = bytes_by_part(variants.get(name).engine.tensor_bytes(tmp_path / name))
        assert parts["word_embeddings"] / MB == pytest.approx(93.8, abs=0.05)


def test_minilm_with_int8_embeddings_takes_a_quarter(tmp_path: Path) -> None:
    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    sizes = stored_mb(("fp32", "int8_embeddings"), config, tmp_path)
    assert sizes["int8_embeddings"] <= 23.5
    assert sizes["int8_embeddings"] / sizes["fp32"] < 0.26
