"""ONNX Runtime's dynamic quantization: the right graph, really quantized, the same everywhere."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import helper, numpy_helper
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from stages import variants
from stages.engines.onnx import building as onnx_building
from stages.engines.onnx import engine as onnx_artifact
from stages.engines.onnx.session import session, session_predictor
from stages.measure.size import bytes_by_part
from stages.model.artifact import RECIPE, Recipe
from stages.model.classifier import load_checkpoint, predictor
from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.running.shipped.predict import LOADERS
from stages.tasks import mrpc
from tests import building
from tests.building import INPUTS, batch
from tests.conftest import WORDS
from tests.unit.conftest import OnCpu

NAMES = ("int8_onnx", "int8_onnx_u8")
LINEARS = 14  # two layers of query, key, value, output, up, down; the pooler; the classifier
Build = Callable[..., Path]


def write_recipe(checkpoint: Path, inputs: list[str]) -> None:
    recipe = Recipe(task="mrpc", model="m", weights="random", seed=42, max_length=64, inputs=inputs)
    write_json(checkpoint / RECIPE, recipe.model_dump())


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> variants.Ingredients:
    folder = tmp_path_factory.mktemp("ingredients")
    shutil.copytree(tiny_bert, folder / "finetuned")
    write_recipe(folder / "finetuned", INPUTS)
    module = load_checkpoint(tiny_bert)
    torch.manual_seed(0)
    for parameter in module.parameters():  # trained ones are not all 0 or 1, as biases still are
        torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean().round()), std=0.05)
    module.save_pretrained(folder / "finetuned")  # type: ignore[operator]
    random = np.random.default_rng(0)
    texts = [
        [" ".join(random.choice(WORDS, random.integers(2, 20))) for _ in "ab"] for _ in "x" * 40
    ]
    pd.DataFrame(texts, columns=["sentence1", "sentence2"]).to_parquet(folder / "train.parquet")
    return variants.Ingredients(
        mrpc.DATASET.task, folder / "finetuned", folder / "train.parquet", folder / "learned"
    )


@pytest.fixture(scope="module")
def exported(ingredients: variants.Ingredients, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The FP32 graph."""
    target = tmp_path_factory.mktemp("exported") / "fp32.onnx"
    onnx_building.export_checked(ingredients, target)
    return target


@pytest.fixture
def build(
    ingredients: variants.Ingredients,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Build:
    """What stage quantize does, from the graph that was exported once."""
    numbers = itertools.count()
    monkeypatch.setattr(
        onnx_building, "export_checked", lambda _, target: shutil.copyfile(exported, target)
    )

    def built(name: str, **settings: object) -> Path:
        return building.build(name, ingredients, tmp_path / f"artifact{next(numbers)}", **settings)

    return built


def ignoring_the_mask(graph: Path, target: Path) -> None:
    """A graph that is right where nothing is padded."""
    model = onnx.load(graph)
    for node in model.graph.node:
        node.input[:] = ["ones" if name == "attention_mask" else name for name in node.input]
    zero, one = (
        numpy_helper.from_array(np.int64(0), "z0"),
        numpy_helper.from_array(np.int64(1), "o1"),
    )
    model.graph.initializer.extend([zero, one])
    model.graph.node.insert(0, helper.make_node("Add", ["zeros", "o1"], ["ones"]))
    model.graph.node.insert(0, helper.make_node("Mul", ["attention_mask", "z0"], ["zeros"]))
    onnx.save(model, target)


def initializers(artifact: Path) -> dict[str, np.ndarray]:
    stored = onnx.load(artifact / "model.onnx").graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in stored}


def linear_weights(artifact: Path) -> list[str]:
    """Names, as in the FP32 model, of the weights that integer products read."""
    nodes = onnx.load(artifact / "model.onnx").graph.node
    return [n.input[1].removesuffix("_quantized") for n in nodes if n.op_type == "MatMulInteger"]


def metadata(artifact: Path) -> dict[str, str]:
    return {p.key: p.value for p in onnx.load(artifact / "model.onnx").metadata_props}


def test_the_fp32_graph_gives_pytorchs_logits_on_padded_batches(
    ingredients: variants.Ingredients, exported: Path
) -> None:
    expected = predictor(load_checkpoint(ingredients.checkpoint))(batch())
    found = session_predictor(session(exported))(batch())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_fp32_graph_has_pytorchs_names(
    ingredients: variants.Ingredients, exported: Path
) -> None:
    names = {tensor.name for tensor in onnx.load(exported).graph.initializer}
    assert {name for name, _ in load_checkpoint(ingredients.checkpoint).named_parameters()} <= names


def test_a_graph_that_is_wrong_only_on_padding_is_refused(
    ingredients: variants.Ingredients,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        onnx_building, "write_onnx", lambda _, __, target: ignoring_the_mask(exported, target)
    )
    with pytest.raises(UserError, match="export differs from PyTorch by"):
        variants.get("int8_onnx").build(ingredients, tmp_path, variants.get("int8_onnx").params())
    assert not (tmp_path / "model.onnx").exists()


def test_logits_that_are_not_numbers_are_refused() -> None:
    right, wrong = np.zeros((1, 2)), np.array([[np.nan, 0]])
    with pytest.raises(UserError, match="nan"):
        onnx_building.check_same_logits(
            lambda _: right,
            lambda one: wrong if "nan" in one else right,
            iter([{}, {"nan": right}]),
        )


def test_a_checkpoint_with_infinity_is_refused(
    ingredients: variants.Ingredients, tmp_path: Path
) -> None:
    module = load_checkpoint(ingredients.checkpoint)
    with torch.no_grad():
        module.get_parameter("classifier.weight")[0, 0] = torch.inf
    shutil.copytree(ingredients.checkpoint, tmp_path / "broken")
    module.save_pretrained(tmp_path / "broken")  # type: ignore[operator]
    broken = variants.Ingredients(
        ingredients.task, tmp_path / "broken", ingredients.train, ingredients.learned
    )
    with pytest.raises(UserError, match=r"classifier\.weight holds infinity"):
        variants.get("int8_onnx").build(broken, tmp_path, variants.get("int8_onnx").params())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_the_file_holds_the_weights_that_were_asked_for(
    name: str,
    per_channel: bool,
    reduce_range: bool,
    build: Build,
    ingredients: variants.Ingredients,
) -> None:
    artifact = build(name, per_channel=per_channel, reduce_range=reduce_range)
    stored = initializers(artifact)
    original = load_checkpoint(ingredients.checkpoint).state_dict()
    largest = {"int8_onnx": (127, 64), "int8_onnx_u8": (255, 127)}[name][reduce_range]
    assert len(linear_weights(artifact)) == LINEARS
    for weight in linear_weights(artifact):
        q, scale, zero = (stored[f"{weight}{end}"] for end in onnx_artifact.SUFFIXES)
        assert q.dtype == zero.dtype == (np.int8 if name == "int8_onnx" else np.uint8)
        assert np.abs(q.astype(int)).max() == largest
        assert scale.size == zero.size == (q.shape[1] if per_channel else 1)
        if name == "int8_onnx":
            assert not zero.any()
        error = np.abs((q.astype(float) - zero.astype(float)) * scale - original[weight].numpy().T)
        assert (error <= 1.01 * scale).all()
    bits = "7 bits" if reduce_range else "8 bits"
    form = f"one scale per {'channel' if per_channel else 'tensor'}"
    assert metadata(artifact)["linear_weights"].endswith(f"{bits}, {form}")


@pytest.mark.parametrize("embeddings", [True, False])
def test_operators_are_counted(embeddings: bool, build: Build) -> None:
    artifact = build("int8_onnx", embeddings=embeddings)
    tables = [
        array for name, array in initializers(artifact).items() if "_embeddings.weight" in name
    ]
    assert (np.float32 in {table.dtype.type for table in tables if table.ndim == 2}) != embeddings
    found = variants.get("int8_onnx").engine.count_quantized(artifact)
    assert found == LINEARS + 3 * embeddings
    described = metadata(artifact)["embeddings"]
    assert described == ("uint8, one scale per table" if embeddings else "float32")


@pytest.mark.parametrize(
    ("name", "flags", "machine", "reduced"),
    [
        ("int8_onnx", ["avx2"], "x86_64", "true"),
        ("int8_onnx", ["avx2", "avx512bw", "avx512vl"], "AMD64", "true"),
        ("int8_onnx", ["avx2", "avx512_vnni"], "x86_64", "false"),
        ("int8_onnx", [], "aarch64", "false"),
        # Unsigned weights do not overflow: their eighth bit would be lost for nothing.
        ("int8_onnx_u8", ["avx2"], "x86_64", "false"),
    ],
)
def test_auto_gives_up_a_bit_only_where_products_overflow(
    name: str, flags: list[str], machine: str, reduced: str, build: Build, on_cpu: OnCpu
) -> None:
    on_cpu(*flags, machine=machine)
    assert metadata(build(name, reduce_range="auto"))["reduce_range"] == reduced


def test_eight_bits_on_a_cpu_where_they_overflow_are_announced(
    build: Build, on_cpu: OnCpu, capfd: pytest.CaptureFixture[str]
) -> None:
    on_cpu("avx2", "avx512_vnni")
    automatic, fixed = build("int8_onnx"), build("int8_onnx", reduce_range=False)
    safe, unsigned = build("int8_onnx", reduce_range=True), build("int8_onnx_u8")
    capfd.readouterr()
    variants.get("int8_onnx").engine.load(automatic)
    assert capfd.readouterr().err == ""
    on_cpu("avx2")
    variants.get("int8_onnx").engine.load(safe)
    variants.get("int8_onnx_u8").engine.load(unsigned)
    assert capfd.readouterr().err == ""
    variants.get("int8_onnx").engine.load(automatic)
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert "without VNNI" in line
    assert "rebuild it here with 'dvc repro -f -s quantize@mrpc-42-int8_onnx'" in line
    variants.get("int8_onnx").engine.load(fixed)
    assert "set reduce_range to auto in params.yaml" in capfd.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_what_was_stored_runs_the_same_after_loading_and_export(
    name: str, build: Build, ingredients: variants.Ingredients, tmp_path: Path
) -> None:
    artifact, variant = build(name), variants.get(name)
    logits = variant.engine.load(artifact)(batch())
    assert logits.dtype == np.float32
    assert logits.shape == (5, 2)
    np.testing.assert_array_equal(variant.engine.load(artifact)(batch()), logits)
    assert np.abs(logits - predictor(load_checkpoint(ingredients.checkpoint))(batch())).max() < 0.05
    assert variant.engine.export(artifact, tmp_path) == ["model.onnx"]
    np.testing.assert_array_equal(LOADERS[".onnx"](tmp_path / "model.onnx", 1)(batch()), logits)


@pytest.mark.parametrize("name", NAMES)
def test_stored_bytes_are_accounted_for_by_part(
    name: str, build: Build, ingredients: variants.Ingredients
) -> None:
    artifact = build(name)
    sizes = variants.get(name).engine.tensor_bytes(artifact)
    words = load_checkpoint(ingredients.checkpoint).state_dict()[
        "bert.embeddings.word_embeddings.weight"
    ]
    assert sizes["bert.embeddings.word_embeddings.weight"] == words.numel() + 4 + 1
    assert sizes["bert.encoder.layer.1.output.dense.weight"] == 64 * 32 + 32 * (4 + 1)
    assert set(load_checkpoint(ingredients.checkpoint).state_dict()) <= set(sizes)
    parts = bytes_by_part(sizes)
    assert all(parts.values())
    assert sum(parts.values()) == sum(array.nbytes for array in initializers(artifact).values())


def test_the_session_has_torchs_threads(build: Build) -> None:
    artifact, before = build("int8_onnx"), torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            options = session(artifact / "model.onnx").get_session_options()
            assert options.intra_op_num_threads == threads
            assert options.inter_op_num_threads == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_model_without_token_types_gives_the_same_bytes_twice(
    ingredients: variants.Ingredients, tiny_bert: Path, tmp_path: Path
) -> None:
    checkpoint, inputs = tmp_path / "checkpoint", ["input_ids", "attention_mask"]
    shutil.copytree(tiny_bert, checkpoint)
    config = DistilBertConfig(vocab_size=71, dim=32, hidden_dim=64, n_layers=1, n_heads=2)
    DistilBertForSequenceClassification(config).save_pretrained(checkpoint)
    write_recipe(checkpoint, inputs)
    other = variants.Ingredients(
        ingredients.task, checkpoint, ingredients.train, ingredients.learned
    )
    variant, folders = variants.get("int8_onnx"), (tmp_path / "first", tmp_path / "second")
    for folder in folders:
        folder.mkdir()
        variant.build(other, folder, variant.params())
        assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    first, second = ((folder / "model.onnx").read_bytes() for folder in folders)
    assert first == second
    for text in (b".py", b"site-packages", str(tmp_path).encode()):
        assert text not in first
    texts = {name: batch()[name] for name in inputs}
    expected = predictor(load_checkpoint(checkpoint))(texts)
    assert np.abs(variant.engine.load(folders[0])(texts) - expected).max() < 0.05
    assert variant.engine.count_quantized(folders[0]) == 8 + 2
    assert all(bytes_by_part(variant.engine.tensor_bytes(folders[0])).values())
