"""Every variant: stored and loaded without loss, really quantized, exported faithfully."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    set_seed,
)

from stages import variants
from stages.measure.exported import LOADERS
from stages.measure.size import MB, bytes_by_part, part_of
from stages.models.artifact import (
    WEIGHTS,
    Recipe,
    copy_without_weights,
    read_manifest,
    verify,
    write_manifest,
)
from stages.models.classifier import load_checkpoint, predictor
from stages.models.tokens import Batch
from stages.plumbing.command import UserError
from stages.plumbing.section import Section

INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def batch(rows: int = 5, length: int = 12, vocabulary: int = 70) -> Batch:
    """Rows of different lengths, padded."""
    random = np.random.default_rng(0)
    mask = (np.arange(length) < random.integers(3, length + 1, size=(rows, 1))).astype(np.int64)
    ids = random.integers(5, vocabulary, size=(rows, length)) * mask
    return {"input_ids": ids, "token_type_ids": np.zeros_like(ids), "attention_mask": mask}


def build(
    name: str, checkpoint: Path, folder: Path, inputs: list[str] = INPUTS, **settings: object
) -> Path:
    """What stage quantize does, without a task."""
    folder.mkdir(parents=True)
    params: Section = variants.get(name).Params(**settings)
    copy_without_weights(checkpoint, folder)
    source = variants.Source(checkpoint=checkpoint, train=Path("unused"))
    variants.get(name).build(source, folder, params)
    recipe = Recipe(task="t", model="m", weights="random", max_length=64, inputs=inputs)
    write_manifest(folder, name, recipe, params.model_dump())
    return folder


@pytest.fixture(scope="module", params=variants.names())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def artifact(name: str, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(name, tiny_bert, tmp_path_factory.mktemp("artifact") / name)


def test_loading_twice_gives_the_same_logits_bit_for_bit(name: str, artifact: Path) -> None:
    variant = variants.get(name)
    first, second = variant.load(artifact)(batch()), variant.load(artifact)(batch())
    assert first.dtype == np.float32
    assert first.shape == (5, 2)
    np.testing.assert_array_equal(first, second)


def test_logits_stay_near_fp32(name: str, artifact: Path, tiny_bert: Path) -> None:
    reference = predictor(load_checkpoint(tiny_bert))(batch())
    found = variants.get(name).load(artifact)(batch())
    assert np.abs(found - reference).max() < 0.05


def test_padding_does_not_change_the_answer_beyond_quantization_noise(
    name: str, artifact: Path
) -> None:
    predict, short = variants.get(name).load(artifact), batch(rows=3)
    padded = {key: np.pad(array, ((0, 0), (0, 9))) for key, array in short.items()}
    assert np.abs(predict(short) - predict(padded)).max() < 0.02


def test_export_gives_the_variants_answers_in_other_shapes_than_traced(
    name: str, artifact: Path, tmp_path: Path
) -> None:
    expected = variants.get(name).load(artifact)(batch())
    files = variants.get(name).export(artifact, tmp_path)
    assert {Path(file).suffix for file in files} == {".pt", ".onnx"}
    for file in files:
        found = LOADERS[Path(file).suffix](tmp_path / file)(batch())
        np.testing.assert_allclose(found, expected, atol=2e-3, err_msg=file)


def test_stored_bytes_are_accounted_for_by_part(name: str, artifact: Path) -> None:
    parts = bytes_by_part(variants.get(name).tensor_bytes(artifact))
    file = (artifact / WEIGHTS).stat().st_size
    assert all(size > 0 for size in parts.values())
    assert 0.8 * file < sum(parts.values()) <= file


def test_an_altered_artifact_is_refused(name: str, tiny_bert: Path, tmp_path: Path) -> None:
    copy = build(name, tiny_bert, tmp_path / "copy")
    path = copy / "config.json"
    original = path.read_bytes()
    path.write_bytes(original + b" ")
    with pytest.raises(UserError, match=r"config\.json was altered"):
        verify(copy)
    path.write_bytes(original)
    verify(copy)


def test_int8_dynamic_equals_torchs_quantize_dynamic_bit_for_bit(
    tiny_bert: Path, tmp_path: Path
) -> None:
    from torch.ao.quantization import quantize_dynamic

    artifact = build("int8_dynamic", tiny_bert, tmp_path / "artifact")
    torch.backends.quantized.engine = read_manifest(artifact).parameters["engine"]
    theirs = quantize_dynamic(load_checkpoint(tiny_bert), {torch.nn.Linear}, dtype=torch.qint8)
    found = variants.get("int8_dynamic").load(artifact)(batch())
    np.testing.assert_array_equal(found, predictor(theirs)(batch()))


@pytest.mark.parametrize("engine", ["x86", "fbgemm", "onednn"])
def test_int8_dynamic_runs_as_many_int8_linears_as_it_claims(
    engine: str, tiny_bert: Path, tmp_path: Path
) -> None:
    artifact = build("int8_dynamic", tiny_bert, tmp_path / "artifact", engine=engine)
    predict = variants.get("int8_dynamic").load(artifact)
    with torch.autograd.profiler.profile() as profile:
        predict(batch())
    executed = [e for e in profile.function_events if e.name == "quantized::linear_dynamic"]
    # Two layers of query, key, value, output, up, down; the pooler; the classifier.
    assert len(executed) == variants.get("int8_dynamic").count_quantized(artifact) == 14


def test_weights_of_another_architecture_are_refused(tiny_bert: Path, tmp_path: Path) -> None:
    artifact = build("int8_dynamic", tiny_bert, tmp_path / "artifact")
    config = json.loads((artifact / "config.json").read_text())
    (artifact / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"does not fit its config\.json"):
        variants.get("int8_dynamic").load(artifact)


def test_a_model_without_token_types_is_quantized_and_exported(tmp_path: Path) -> None:
    config = DistilBertConfig(vocab_size=70, dim=32, hidden_dim=64, n_layers=2, n_heads=2)
    checkpoint, inputs = tmp_path / "checkpoint", ["input_ids", "attention_mask"]
    DistilBertForSequenceClassification(config).save_pretrained(checkpoint)
    artifact = build("int8_dynamic", checkpoint, tmp_path / "artifact", inputs)
    texts = {name: batch()[name] for name in inputs}
    expected = variants.get("int8_dynamic").load(artifact)(texts)
    for file in variants.get("int8_dynamic").export(artifact, tmp_path):
        found = LOADERS[Path(file).suffix](tmp_path / file)(texts)
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


def test_bert_base_has_the_sizes_that_the_tutorial_prints(tmp_path: Path) -> None:
    """438 MB and 181 MB; about 90 MB of it word embeddings."""
    checkpoint = tmp_path / "checkpoint"
    set_seed(0)
    BertForSequenceClassification(BertConfig()).save_pretrained(checkpoint)
    sizes, words = {}, {}
    for name in ("fp32", "int8_dynamic"):
        artifact = build(name, checkpoint, tmp_path / name)
        sizes[name] = (artifact / WEIGHTS).stat().st_size / MB
        parts = bytes_by_part(variants.get(name).tensor_bytes(artifact))
        words[name] = parts["word_embeddings"] / MB
    assert sizes == {
        "fp32": pytest.approx(438, rel=0.01),
        "int8_dynamic": pytest.approx(181, rel=0.01),
    }
    assert list(words.values()) == pytest.approx([93.8, 93.8], abs=0.05)
