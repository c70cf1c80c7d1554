"""The ONNX form of an integer model: the judge's integers, and no float anywhere."""

from collections.abc import Callable, Iterator
from itertools import cycle
from math import isqrt
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from stages.engines.ibert import onnx_form, reference
from stages.engines.ibert.onnx_form import Graph, Value, write_onnx
from stages.engines.ibert.reference import Reference, Saturations
from stages.engines.ibert.tensors import FORMAT
from stages.engines.onnx.session import session
from stages.engines.runtime import packed_file
from tests.integer_models import ODD_SIZES, random_model, random_texts

SIZES = ("small", "as TinyBERT", "one column a head")
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
INTEGERS = {
    getattr(TensorProto, name)
    for name in ("INT8", "UINT8", "INT16", "INT32", "INT64", "UINT32", "UINT64", "BOOL")
}
# All that may be in a graph; of integers each makes integers.
ARITHMETIC = {"Abs", "Add", "Clip", "CumSum", "Div", "Max", "Min", "Mul", "Sign", "Sub"}
REDUCING = {"MatMul", "MatMulInteger", "ReduceMax", "ReduceMin", "ReduceSum"}
BITWISE = {"BitShift", "BitwiseAnd", "Cast", "Greater", "GreaterOrEqual", "Where"}
MOVING = {"Gather", "Reshape", "Slice", "Squeeze", "Transpose"}
OPERATORS = ARITHMETIC | REDUCING | BITWISE | MOVING


def padded(rows: list, length: int) -> np.ndarray:
    return np.stack([np.pad(row, (0, length - len(row))) for row in rows]).astype(np.int64)


def batch_of(ids: list, types: list, more: int = 0) -> dict[str, np.ndarray]:
    """Padded on the right to the longest text and `more`."""
    length = max(map(len, ids)) + more
    mask = [np.ones_like(one) for one in ids]
    columns = zip(INPUTS, (ids, mask, types), strict=True)
    return {name: padded(rows, length) for name, rows in columns}


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("name", SIZES)
def test_the_bits_of_the_judge(name: str, wild: bool, tmp_path: Path) -> None:
    sizes, target = ODD_SIZES[name], tmp_path / "model.onnx"
    file = random_model(tmp_path / "model.safetensors", sizes, seed=2, wild=wild)
    judge = Reference(*packed_file.read(FORMAT, file))
    ids, types = random_texts(sizes, 12)
    expected = judge(ids, types)
    assert len({tuple(row) for row in expected.tolist()}) > len(ids) // 2

    write_onnx(file, INPUTS, target)
    running = session(target, 1)
    # Also padded beyond the table of positions.
    for more in (0, 1, sizes.positions):
        (logits,) = running.run(["logits"], batch_of(ids, types, more))
        assert logits.dtype == np.int32
        np.testing.assert_array_equal(logits, expected)
    for one, its, alone in zip(ids, types, expected, strict=True):
        for more in (0, 3):
            (logits,) = running.run(None, batch_of([one], [its], more))
            np.testing.assert_array_equal(logits, alone[None])

    write_onnx(file, INPUTS[:2], target)
    without_types = {name: batch_of(ids, types)[name] for name in INPUTS[:2]}
    np.testing.assert_array_equal(session(target, 1).run(None, without_types)[0], judge(ids))


def test_a_mask_without_a_token_ends_nothing(tmp_path: Path) -> None:
    """A division of integers by zero would end the process."""
    file = random_model(tmp_path / "model.safetensors", ODD_SIZES["as TinyBERT"], seed=2)
    write_onnx(file, INPUTS, tmp_path / "model.onnx")
    ids, types = random_texts(ODD_SIZES["as TinyBERT"], 12)
    batch = batch_of(ids, types)
    batch["attention_mask"][0] = 0
    expected = Reference(*packed_file.read(FORMAT, file))(ids[1:], types[1:])
    (logits,) = session(tmp_path / "model.onnx", 1).run(None, batch)
    np.testing.assert_array_equal(logits[1:], expected)


def element_types(model: onnx.ModelProto) -> Iterator[tuple[str, int]]:
    """What has a type of numbers, and that type: FLOAT also for an attribute that is a float.

    Of every value: the inputs, the initializers, and each output of each node, where ONNX infers
    no type as UNDEFINED.
    """
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    typed = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.input, *inferred.output, *inferred.value_info)
    }
    for value in inferred.input:
        yield value.name, typed[value.name]
    for tensor in inferred.initializer:
        yield tensor.name, tensor.data_type
    for sparse in inferred.sparse_initializer:
        yield sparse.values.name, sparse.values.data_type
    for node in inferred.node:
        for name in node.output:
            yield name, typed.get(name, TensorProto.UNDEFINED)
        for attribute in node.attribute:
            yield from attribute_types(node, attribute)


def attribute_types(
    node: onnx.NodeProto, attribute: onnx.AttributeProto
) -> Iterator[tuple[str, int]]:
    kinds, name = onnx.AttributeProto, f"{attribute.name} of {node.name}"
    if attribute.name in ("to", "dtype"):
        yield name, attribute.i
    elif attribute.type in (kinds.FLOAT, kinds.FLOATS):
        yield name, TensorProto.FLOAT
    elif attribute.type == kinds.TENSOR:
        yield name, attribute.t.data_type
    elif attribute.type not in (kinds.INT, kinds.INTS, kinds.STRING):
        yield name, TensorProto.UNDEFINED  # a graph inside of a node, say


def no_integers(model: onnx.ModelProto) -> dict[str, str]:
    """What is not of an integer type, and its type."""
    return {
        name: TensorProto.DataType.Name(kind)
        for name, kind in element_types(model)
        if kind not in INTEGERS
    }


@pytest.fixture(params=[(name, inputs) for name in SIZES for inputs in (2, 3)], ids=str)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, inputs = request.param
    file = random_model(tmp_path / "model.safetensors", ODD_SIZES[name], seed=2)
    write_onnx(file, INPUTS[:inputs], tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_all_types_are_integers(written: Path) -> None:
    model = onnx.load(written)
    onnx.checker.check_model(model, full_check=True)
    assert no_integers(model) == {}
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert {(one.domain, one.version) for one in model.opset_import} == {("", onnx_form.OPSET)}
    assert not model.functions
    used = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= used


def test_what_onnx_runtime_makes_of_it_has_integers_alone(written: Path, tmp_path: Path) -> None:
    """It folds constants and fuses nodes before it runs a graph."""
    import onnxruntime

    options, run = onnxruntime.SessionOptions(), tmp_path / "as_run.onnx"
    options.optimized_model_filepath, options.log_severity_level = str(run), 3
    onnxruntime.InferenceSession(str(written), options, providers=["CPUExecutionProvider"])
    model = onnx.load(run)
    assert no_integers(model) == {}
    assert {node.op_type for node in model.graph.node} <= {*OPERATORS, "Split"}
    assert {node.domain for node in model.graph.node} == {""}


@pytest.mark.parametrize("kind", ["cast", "half", "constant", "attribute", "output"])
def test_a_float_is_found(kind: str, tmp_path: Path) -> None:
    file = random_model(tmp_path / "model.safetensors", ODD_SIZES["small"], seed=2)
    write_onnx(file, INPUTS, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    graph, nodes = model.graph, model.graph.node
    at = next(i for i, node in enumerate(nodes) if node.op_type == "Mul")
    passed = nodes[at].output[0]
    if kind in ("cast", "half"):  # to it and back: what follows is as before
        there = TensorProto.FLOAT if kind == "cast" else TensorProto.BFLOAT16
        nodes[at].output[0] = "whole"
        nodes.insert(at + 1, helper.make_node("Cast", ["whole"], ["float"], to=there))
        nodes.insert(at + 2, helper.make_node("Cast", ["float"], [passed], to=TensorProto.INT32))
    elif kind == "constant":
        graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    elif kind == "attribute":
        nodes.append(helper.make_node("Constant", [], ["one"], value_float=1.0))
    else:
        nodes.append(helper.make_node("Cast", ["logits"], ["real"], to=TensorProto.DOUBLE))
        graph.output.append(helper.make_tensor_value_info("real", TensorProto.DOUBLE, None))
    assert no_integers(model)


def test_the_exponent_is_in_the_metadata(tmp_path: Path) -> None:
    file = random_model(tmp_path / "model.safetensors", ODD_SIZES["small"], seed=2)
    write_onnx(file, INPUTS, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    exponent = Reference(*packed_file.read(FORMAT, file)).exponent
    assert {one.key: one.value for one in model.metadata_props} == {
        onnx_form.EXPONENT: str(exponent)
    }
    assert f"2^{exponent}" in model.doc_string


# Operators alone, at the ends of their numbers, where random models seldom come.


class Alone:
    """A graph of whatever is appended to it."""

    def __init__(
        self, sizes: packed_file.Sizes, tensors: dict[str, np.ndarray], **given: np.ndarray
    ):
        self.graph, self.given = Graph(sizes, tensors), given

    def __getitem__(self, name: str) -> Value:
        return Value(self.graph, name, self.given[name].dtype.name)

    def run(self, folder: Path, *outputs: Value) -> list[np.ndarray]:
        def info(name: str, dtype: str, shape: tuple | None) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, onnx_form.onnx_type(dtype), shape)

        model = helper.make_model(
            helper.make_graph(
                self.graph.nodes,
                "alone",
                [info(name, one.dtype.name, one.shape) for name, one in self.given.items()],
                [info(one.name, one.dtype, None) for one in outputs],
                list(self.graph.constants.values()),
            ),
            opset_imports=[helper.make_opsetid("", onnx_form.OPSET)],
            ir_version=onnx_form.IR,
        )
        onnx.save(model, folder / "alone.onnx")
        found: list[np.ndarray] = session(folder / "alone.onnx", 1).run(None, self.given)
        return found


ALL_16 = np.arange(-32768, 32768, dtype=np.int32)
ANY = ODD_SIZES["small"]


def test_shifts_and_roots(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    ends = np.array([0, 1, -1, 2**30 - 2**14 - 1, -(2**30) + 1], np.int64)
    numbers = np.concatenate([ends, random.integers(-(2**30) + 1, 2**30 - 2**14, 500)])
    squares = np.array([2**16, 2**62 - 1, 3037000499**2 // 2, *(1 << np.arange(16, 62))], np.int64)
    roots = np.concatenate([random.integers(2**8, 2**31, 500), 1 << np.arange(8, 31)])
    squares = np.concatenate([squares, *(roots**2 + i for i in (0, -1, 1))])
    squares = squares[squares >= 2**16][:, None]
    given = {"narrow": numbers.astype(np.int32), "wide": numbers << 30, "squares": squares}
    alone = Alone(ANY, {}, **given)
    narrow = [onnx_form.rshr(alone["narrow"], shift) for shift in range(1, 16)]
    wide = [onnx_form.rshr(alone["wide"], shift) for shift in range(1, 62)]
    *shifted, root = alone.run(tmp_path, *narrow, *wide, onnx_form.root(alone["squares"]))
    for shift, found in zip((*range(1, 16), *range(1, 62)), shifted, strict=True):
        start = given["narrow" if found.dtype == np.int32 else "wide"].tolist()
        assert found.tolist() == [(one + (1 << (shift - 1))) >> shift for one in start]
    assert root[:, 0].tolist() == [isqrt(int(one)) for one in squares[:, 0]]


def test_activations_of_every_number(tmp_path: Path) -> None:
    alone = Alone(ANY, {}, x=ALL_16)
    outputs = [onnx_form.gelu(alone["x"], bits) for bits in range(1, 15)]
    *gelus, tanh = alone.run(tmp_path, *outputs, onnx_form.tanh(alone["x"]))
    for bits, found in enumerate(gelus, 1):
        np.testing.assert_array_equal(found, reference.gelu(ALL_16.astype(np.int64), bits))
    np.testing.assert_array_equal(tanh, reference.tanh(ALL_16.astype(np.int64)))


def extreme_rows(columns: int) -> np.ndarray:
    """Int32 (rows, columns) in 16 bits, of all sizes and at both ends."""
    random = np.random.default_rng(4)
    rows = [random.integers(-(1 << b), 1 << b, columns) for b in range(16)]
    rows += [np.full(columns, end) for end in (-32768, 32767, 0, 1, -1, 128)]
    rows += [np.where(np.arange(columns) % 2, *ends) for ends in ((-32768, 32767), (5, -6))]
    return np.stack([*rows, np.eye(1, columns, dtype=np.int64)[0] * -32768]).astype(np.int32)


def test_linears_of_every_shift_and_gain(tmp_path: Path) -> None:
    file = random_model(tmp_path / "model.safetensors", ANY, seed=2, wild=True)
    sizes, tensors = packed_file.read(FORMAT, file)
    x, name = extreme_rows(ANY.hidden), "head.dense"
    alone = Alone(sizes, dict(tensors), x=x)
    rows, gains = onnx_form.Rows(alone["x"]), cycle([*range(-16, 32, 5)])
    # Ten gains and 48 shifts: each shift meets three of them, and others of the same graph.
    pairs = [(shift, next(gains)) for shift in range(-16, 32) for _ in range(3)]
    found = alone.run(
        tmp_path, *(onnx_form.linear(rows, alone.graph, name, *pair) for pair in pairs)
    )
    judged = reference.Rows(x.astype(np.int64))
    for (shift, gain), ours in zip(pairs, found, strict=True):
        linear = reference.Linear(name, tensors, shift, gain)
        np.testing.assert_array_equal(ours, linear(judged, Saturations())[:, : ANY.hidden])


@pytest.mark.parametrize("columns", [1, 7, 384, 4096])
@pytest.mark.parametrize("eps", [1, 2**31 - 1])
def test_norms_of_extreme_rows(columns: int, eps: int, tmp_path: Path) -> None:
    sizes = packed_file.Sizes(columns, 1, 1, 8, 9, 9, 0, 0, 1, 0, 0)
    _, tensors = packed_file.read(
        FORMAT, random_model(tmp_path / "model", sizes, seed=2, wild=True)
    )
    x, name = extreme_rows(columns), packed_file.EMBEDDINGS_NORM
    alone = Alone(sizes, dict(tensors), x=x)
    (found,) = alone.run(tmp_path, onnx_form.layer_norm(alone["x"], name, eps))
    expected = reference.Norm(name, tensors, eps)(x.astype(np.int64), Saturations())
    np.testing.assert_array_equal(found, expected)


def same(tokens: int, columns: int) -> np.ndarray:
    return np.concatenate(
        [np.full((tokens, 2 * columns), 4095), np.full((tokens, columns), 2047)], 1
    )


def opposite(tokens: int, columns: int) -> np.ndarray:
    """Scores as far apart as 32 bits allow."""
    return same(tokens, columns) * np.where(np.arange(tokens) % 2, 1, -1)[:, None]


def random_qkv(tokens: int, columns: int) -> np.ndarray:
    random = np.random.default_rng(5)
    limits = np.repeat([4095, 4095, 2047], columns)
    return random.integers(-limits, limits, (tokens, 3 * columns), endpoint=True)


@pytest.mark.parametrize("make", [same, opposite, random_qkv])
def test_attention_at_its_ends(make: Callable[[int, int], np.ndarray], tmp_path: Path) -> None:
    sizes = packed_file.Sizes(256, 1, 2, 8, 9, 512, 0, 0, 1, 0, 0)
    for tokens in (1, 512):
        qkv = make(tokens, sizes.hidden).astype(np.int32)
        wide = np.pad(qkv, ((0, 3), (0, 0)), constant_values=2047)[None]
        keys = (np.arange(tokens + 3) < tokens).astype(np.int32)[None, None, None]
        alone = Alone(sizes, {}, qkv=wide, true=keys.astype(bool), ones=keys)
        mask = onnx_form.Mask(alone["true"], alone["ones"])
        numbers = [(0, 0), (0, 65535), (31, 65535), (9, 40000), (16, 65535)]
        found = alone.run(
            tmp_path, *(onnx_form.attention(alone["qkv"], mask, False, *pair) for pair in numbers)
        )
        for pair, ours in zip(numbers, found, strict=True):
            expected = reference.attention(
                qkv.astype(np.int64), slice(None), *pair, sizes.heads, sizes.hidden
            )
            np.testing.assert_array_equal(ours[0, :tokens], expected)
