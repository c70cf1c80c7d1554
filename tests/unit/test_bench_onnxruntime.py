"""The race's ONNX Runtime peer: its graph is the model, is fused, and is chosen by what is fast."""

from dataclasses import astuple, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper, load, numpy_helper, save
from onnxruntime.quantization import QuantType, quantize_dynamic

from bench import workloads
from bench.isa import NATIVE, Isa
from bench.onnx_bert import choice, graph, ranges
from bench.onnx_bert.choice import START, Contender, distance, race
from bench.onnx_bert.fused import NotFused, check, counted
from bench.onnx_bert.graph import INPUTS, Checkpoint, Form
from bench.onnx_bert.linear import BITS_7, BITS_8, Linears, int8_columns, uint8_grid
from bench.onnx_bert.session import session
from bench.onnx_bert.writer import Writer
from bench.peers import onnxruntime_int8
from stages.engines.onnx.session import session_predictor
from stages.model.artifact import RECIPE, read_recipe
from stages.model.classifier import load_checkpoint, predictor
from stages.model.ingredients import Skipped
from stages.model.tokens import Batch
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.tasks import mrpc
from tests.building import as_if_trained, batch, make_ingredients, training_rows

LAYERS = 2
HERE = Isa(NATIVE, simulated=False)
FORMS = [
    Form("fp32", *each)  # type: ignore[arg-type]
    for each in product(
        ("SkipLayerNormalization", "LayerNormalization"),
        ("Attention", "MultiHeadAttention"),
        ("EmbedLayerNormalization", "GatherBlockQuantized"),
        ("Gelu", "FastGelu"),
    )
]
# Those that compute just what the model does.
EXACT = [form for form in FORMS if (form.embeddings[0], form.gelu) == ("E", "Gelu")]


def operators(form: Form) -> str:
    return "-".join(astuple(form)[1:])


@pytest.fixture(autouse=True)
def short_races(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def folder(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose layers do something, with training rows beside it."""
    room = tmp_path_factory.mktemp("onnxruntime")
    made = make_ingredients(as_if_trained(tiny_bert, room / "trained"), room).checkpoint
    rows = workloads.Rows(mrpc.DATASET.task, training_rows(72), training_rows(4))
    workloads.add_rows(rows, made)
    write_json(made / RECIPE, read_json(made / RECIPE) | {"weights": "pretrained"})
    return made


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return graph.read(folder)


@pytest.fixture(scope="module")
def texts() -> Batch:
    """Of different lengths, padded, each a pair."""
    padded = batch(rows=9)
    second = np.arange(padded["input_ids"].shape[1]) > 3
    return padded | {"token_type_ids": second * padded["attention_mask"]}


@pytest.fixture(scope="module")
def fp32(folder: Path, texts: Batch) -> np.ndarray:
    """The answers of transformers."""
    return predictor(load_checkpoint(folder))(texts)


def answers(model: ModelProto, texts: Batch) -> np.ndarray:
    return session_predictor(session(model, 1))(texts)


class TestGraph:
    @pytest.mark.parametrize("form", EXACT, ids=operators)
    def test_in_fp32_it_answers_as_transformers_does(
        self, checkpoint: Checkpoint, texts: Batch, fp32: np.ndarray, form: Form
    ) -> None:
        np.testing.assert_allclose(answers(graph.write(checkpoint, form), texts), fp32, atol=1e-4)

    def test_padding_may_be_on_the_left(
        self, folder: Path, checkpoint: Checkpoint, texts: Batch
    ) -> None:
        turned = {name: array[:, ::-1].copy() for name, array in texts.items()}
        wanted = predictor(load_checkpoint(folder))(turned)
        found = answers(graph.write(checkpoint, Form()), turned)
        np.testing.assert_allclose(found, wanted, atol=1e-4)

    @pytest.mark.parametrize("form", EXACT, ids=operators)
    def test_the_first_token_is_all_that_the_last_layer_need_compute(
        self, checkpoint: Checkpoint, texts: Batch, form: Form
    ) -> None:
        whole = graph.write(checkpoint, form, first_token_only=False)
        edited = graph.write(checkpoint, form)
        np.testing.assert_allclose(answers(edited, texts), answers(whole, texts), atol=1e-5)

    @pytest.mark.parametrize("form", FORMS, ids=operators)
    def test_integers_stay_near_to_fp32(
        self, checkpoint: Checkpoint, texts: Batch, fp32: np.ndarray, form: Form
    ) -> None:
        seen = ranges.find(graph.write(checkpoint, Form()), [texts])
        for arithmetic, limit in product(("dynamic", "static"), (BITS_7, BITS_8)):
            quantized = replace(form, arithmetic=arithmetic)  # type: ignore[arg-type]
            found = answers(graph.write(checkpoint, quantized, limit, seen), texts)
            assert 0 < np.abs(found - fp32).mean() < 0.1 * fp32.std()

    def test_static_ranges_are_those_of_what_linear_layers_read(
        self, checkpoint: Checkpoint, texts: Batch
    ) -> None:
        for form in EXACT:
            seen = ranges.find(graph.write(checkpoint, form), [texts])
            reads = ("attended", "between", "active")
            names = {f"layer{n}.{read}" for n in range(LAYERS) for read in reads}
            assert set(seen) == names | {"embedded", "layer0.out", "layer1.first", "first"}
            assert all(low < high for low, high in seen.values())

    @pytest.mark.parametrize(
        ("key", "value"),
        [("model_type", "roberta"), ("hidden_act", "relu"), ("position_embedding_type", "rel")],
    )
    def test_another_architecture_is_refused(
        self, folder: Path, tmp_path: Path, key: str, value: str
    ) -> None:
        write_json(tmp_path / "config.json", read_json(folder / "config.json") | {key: value})
        with pytest.raises(Skipped, match=f"not {value}"):
            graph.read(tmp_path)


class TestNumbers:
    @pytest.mark.parametrize("reduce_range", [True, False])
    def test_weights_are_those_of_the_librarys_own_quantizer(
        self, checkpoint: Checkpoint, tmp_path: Path, reduce_range: bool
    ) -> None:
        weight = checkpoint.weights["bert.pooler.dense.weight"].T
        writer = Writer()
        Linears(writer, "fp32", BITS_8).write("x", "y", weight, np.zeros(32, dtype=np.float32))
        save(writer.model({"x": ("m", 32)}, {"y": ("m", 32)}, kind=1), tmp_path / "fp32.onnx")
        quantize_dynamic(
            tmp_path / "fp32.onnx",
            tmp_path / "int8.onnx",
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
        )
        theirs = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in load(tmp_path / "int8.onnx").graph.initializer
        }
        q, scale = int8_columns(weight, BITS_7 if reduce_range else BITS_8)
        np.testing.assert_allclose(scale, theirs["y.weight_scale"], rtol=1e-6)
        assert np.abs(q - theirs["y.weight_quantized"].astype(int)).max() <= 1  # ties
        assert (q != theirs["y.weight_quantized"]).mean() < 0.01

    def test_a_column_of_zeros_stays_zero(self) -> None:
        q, scale = int8_columns(np.zeros((4, 2), dtype=np.float32), BITS_7)
        assert not q.any()
        assert np.isfinite(scale).all()

    @pytest.mark.parametrize("limits", [(-1.0, 3.0), (2.0, 3.0), (-3.0, -2.0), (0.0, 0.0)])
    def test_an_activations_grid_holds_zero_and_both_ends(
        self, limits: tuple[float, float]
    ) -> None:
        scale, zero = uint8_grid(*limits)
        for value in (*limits, 0.0):
            q = np.rint(value / scale) + zero
            assert -0.5 <= q <= 255.5
            assert abs((q - zero) * scale - value) <= 0.5 * scale

    def test_words_in_blocks_are_nearer_than_with_one_scale(self, checkpoint: Checkpoint) -> None:
        table = checkpoint.weights["bert.embeddings.word_embeddings.weight"][1:]  # 0 is padding
        q, scale, zero, size = graph.uint8_blocks(table)
        blocks = q.reshape(len(table), -1, size).astype(float)
        restored = ((blocks - zero[..., None]) * scale[..., None]).reshape(table.shape)
        coarse, _ = uint8_grid(float(table.min()), float(table.max()))
        assert np.abs(restored - table).max() < 0.51 * scale.max() <= 0.51 * coarse


class TestFused:
    @pytest.mark.parametrize("form", FORMS, ids=operators)
    def test_what_runs_is_what_was_written(
        self, checkpoint: Checkpoint, tmp_path: Path, form: Form
    ) -> None:
        for arithmetic in ("fp32", "dynamic"):
            wanted = replace(form, arithmetic=arithmetic)
            model = graph.write(checkpoint, wanted)
            check(model, wanted, LAYERS)
            session(model, 1, tmp_path / "optimized.onnx")
            check(load(tmp_path / "optimized.onnx"), wanted, LAYERS)

    def test_every_layer_has_its_fused_operators(self, checkpoint: Checkpoint) -> None:
        found = counted(graph.write(checkpoint, Form(), first_token_only=False))
        assert found["Attention"] == found["Gelu"] == LAYERS
        assert found["SkipLayerNormalization"] == 2 * LAYERS
        assert found["EmbedLayerNormalization"] == 1
        quantized = counted(graph.write(checkpoint, START))
        assert quantized["QAttention"] + quantized["MultiHeadAttention"] == LAYERS
        assert quantized["MatMulIntegerToFloat"] == 3 * LAYERS + 3 + 1

    def test_attention_that_is_not_fused_is_refused(self, checkpoint: Checkpoint) -> None:
        model = graph.write(checkpoint, START)
        (fused,) = (node for node in model.graph.node if node.op_type == "QAttention")
        model.graph.node.remove(fused)
        model.graph.node.append(helper.make_node("Softmax", ["layer0.wide"], list(fused.output)))
        with pytest.raises(NotFused, match="1 nodes instead of 2 are Attention or QAttention"):
            check(model, START, LAYERS)

    def test_a_linear_layer_that_is_not_quantized_is_refused(self, checkpoint: Checkpoint) -> None:
        with pytest.raises(NotFused, match="DynamicQuantizeMatMul or MatMulIntegerToFloat"):
            check(graph.write(checkpoint, Form()), START, LAYERS)


class TestChoice:
    def test_it_is_printed_and_lies_beside_the_model(
        self,
        folder: Path,
        texts: Batch,
        fp32: np.ndarray,
        tmp_path: Path,
        capsys: pytest.CaptureFixture,
    ) -> None:
        assert onnxruntime_int8.prepare(folder, tmp_path, HERE) == ["model.onnx"]
        assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "choice.json"}
        stored, printed = read_json(tmp_path / "choice.json"), capsys.readouterr().out
        assert [part["part"] for part in stored["parts"]] == list(choice.ALTERNATIVES)
        for part in stored["parts"]:
            assert sum(one["chosen"] for one in part["candidates"]) == 1
            for one in part["candidates"]:
                assert f"{part['part']} by {one['operator']}: " in printed
                assert all(ms > 0 for ms in one["ms"].values())
                assert one["distance"] > 0
                if one["chosen"]:
                    assert stored["chosen"][part["part"]] == one["operator"]
        assert f"chosen: {Form(**stored['chosen'])}" in printed
        predict, threads = onnxruntime_int8.load(tmp_path, 1)
        assert threads == 1
        assert np.abs(predict(texts) - fp32).mean() < 0.1 * fp32.std()

    def test_of_random_weights_the_answers_are_not_compared(
        self, checkpoint: Checkpoint, texts: Batch
    ) -> None:
        some = choice.Texts([texts], [texts], {"9 x 12": texts})
        enter = choice.entering(checkpoint, some, BITS_7, compare=False)
        assert enter(START).distance is None
        assert enter(START).near(enter(START))

    def test_who_is_farther_from_fp32_than_the_start_does_not_count(self) -> None:
        start, near, far = (
            Contender(START, ModelProto(), lambda batch: batch["input_ids"], distance)
            for distance in (1.0, 1.05, 1.3)
        )
        assert near.near(start)
        assert not far.near(start)

    def test_the_distance_is_that_of_every_logit(self, texts: Batch) -> None:
        ones = np.ones((9, 2))
        assert distance(lambda _: ones, [texts, texts], [ones, 0 * ones]) == 0.5

    def test_every_row_is_for_the_ranges_or_for_the_comparison(self, folder: Path) -> None:
        texts = choice.gather(folder, read_recipe(folder))
        parts = texts.calibrated, texts.compared
        assert [sum(len(batch["input_ids"]) for batch in part) for part in parts] == [8, 64]

    def test_timed_are_batches_and_single_texts_without_padding(self, folder: Path) -> None:
        timed = choice.gather(folder, read_recipe(folder)).timed
        assert {len(batch["input_ids"]) for batch in timed.values()} == {1, choice.BATCH}
        for shape, batch_ in timed.items():
            assert list(batch_) == INPUTS
            assert shape == "{} x {}".format(*batch_["input_ids"].shape)
            assert len(batch_["input_ids"]) > 1 or batch_["attention_mask"].all()

    def test_each_is_timed_on_every_batch(self, texts: Batch) -> None:
        (ms,) = race([lambda batch: batch["input_ids"]], {"9 x 12": texts})
        assert list(ms) == ["9 x 12"]
