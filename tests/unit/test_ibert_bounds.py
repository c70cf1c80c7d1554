"""Nothing overflows: the bounds that docs/ibert.md claims, on the integers of a built artifact."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.engines.ibert.calibration import OUTPUT, largest_of
from stages.engines.ibert.engine import RUNTIME
from stages.engines.ibert.reference import STEPS, Reference, normal_bits
from stages.engines.ibert.tensors import FORMAT
from stages.engines.runtime import packed_file
from stages.engines.runtime.packed_file import Sizes
from stages.engines.runtime.shipped.classify import WEIGHTS
from stages.engines.safe_l.rounding import LANE_LIMIT, PRODUCTS, lane_sums
from stages.model.classifier import load_checkpoint
from tests.building import as_if_trained, build, make_ingredients
from tests.families import FAMILIES
from tests.integer_models import ODD_SIZES, random_model, random_texts

INT16, INT32 = 2**15 - 1, 2**31 - 1
Built = tuple[Sizes, dict[str, np.ndarray]]


@pytest.fixture(scope="module", params=["bert", "distilbert", "roberta"])
def built(
    request: pytest.FixtureRequest, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    folder = tmp_path_factory.mktemp("bounds")
    family = request.param
    model = tiny_bert if family == "bert" else FAMILIES[family](folder / "fresh")
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "bert")
    ingredients = make_ingredients(as_if_trained(model, folder / "model"), folder, inputs)
    return packed_file.read(FORMAT, build("ibert", ingredients, folder / "ibert") / WEIGHTS)


def of_linears(built: Built) -> dict[str, tuple[int, int, int]]:
    """Name -> shift, gain and S."""
    sizes, tensors = built
    found = {
        f"layer.{i}.{name}": tuple(tensors["layers"][i, 3 * j : 3 * j + 3].tolist())
        for i in range(sizes.layers)
        for j, name in enumerate(packed_file.LINEARS)
    }
    return found | {"head.dense": tuple(tensors["model"][12:15].tolist())}


def test_every_sum_of_products_fits_its_lane_and_int32_after_its_shift(built: Built) -> None:
    _, tensors = built
    for name, (shift, gain, products) in of_linears(built).items():
        weight = packed_file.unpack(tensors[f"{name}.weight"]).astype(np.int64)
        assert products in PRODUCTS
        assert lane_sums(torch.from_numpy(weight).short(), products).max() <= LANE_LIMIT
        np.testing.assert_array_equal(weight.sum(1), tensors[f"{name}.weight_sum"])
        assert np.abs(tensors[f"{name}.weight_sum"]).max() < 2**23  # which C takes in two parts
        # q lies in 0..127 and z as well, so no sum leaves 127 times what the weights add up to.
        largest = STEPS * int(np.abs(weight).sum(1).max()) * 2 + 2 ** max(shift - 1, 0)
        assert largest <= INT32
        assert (largest // 2) * 2 ** max(-shift, 0) <= INT32 + 1
        assert -16 <= shift <= 31
        assert -16 <= gain <= 31


def test_every_multiplier_is_positive_and_one_of_each_layer_fills_its_bits(built: Built) -> None:
    _, tensors = built
    for name in of_linears(built):
        multiplier = tensors[f"{name}.multiplier"]
        assert multiplier.min() >= 0  # so mulhrs never meets -32768 twice
        assert 2**14 <= multiplier.max() <= INT16


def test_scores_and_what_is_summed_up_of_values_fit_int32(built: Built) -> None:
    sizes, tensors = built
    size, one = sizes.hidden // sizes.heads, packed_file.round_up(sizes.hidden, packed_file.PANEL)
    tokens = sizes.positions - sizes.first_position
    for i in range(sizes.layers):
        limit = tensors[f"layer.{i}.qkv.limit"].astype(np.int64)
        query, key, value = limit[:one].max(), limit[one : 2 * one].max(), limit[2 * one :].max()
        assert size * query * key <= INT32
        rounding = 2 ** max(int(2048 * tokens).bit_length() - 5, 0)
        assert tokens * 2048 * value + rounding <= INT32
        assert 8 * value <= INT16  # the context, in eighths


def test_no_token_leaves_int16_when_its_embeddings_are_added(built: Built) -> None:
    sizes, tensors = built
    most = 0
    for name in packed_file.tables(sizes):
        weight = tensors[f"{name}.weight"].astype(np.int64)
        rows = (weight * 256 * tensors[f"{name}.multiplier"][:, None] + 2**14) >> 15
        most += int(np.abs(rows).max())
    assert most <= INT16


def test_no_layernorm_is_divided_by_zero_or_leaves_its_bits(built: Built) -> None:
    sizes, tensors = built
    epsilons = [tensors["model"][17], *tensors["layers"][: sizes.layers, 12:14].ravel()]
    assert min(epsilons) >= 1
    assert sizes.hidden**0.5 * 2 ** normal_bits(sizes.hidden) <= 2**14
    for name in packed_file.norms(sizes):
        assert np.abs(tensors[f"{name}.gamma"].astype(int)).max() <= INT16


def test_every_logit_fits_int32(built: Built) -> None:
    _, tensors = built
    weight = np.abs(tensors["head.weight"].astype(np.int64)).sum(1)
    bias = np.abs(tensors["head.bias"].astype(np.int64))
    assert ((weight * 2**15 >> int(tensors["model"][15])) + 1 + bias).max() <= INT32


def test_a_model_of_more_tokens_has_values_of_fewer_bits(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(tiny_bert, max_position_embeddings=1025)
    folder = shutil.copytree(tiny_bert, tmp_path / "model")
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    ingredients = make_ingredients(folder, tmp_path)
    _, tensors = packed_file.read(FORMAT, build("ibert", ingredients, tmp_path / "ibert") / WEIGHTS)
    assert tensors["layer.0.qkv.limit"].min() == 511  # two doublings of 512 do not reach 1,025


def test_texts_may_be_as_long_as_the_model_is_wide(tiny_bert: Path, tmp_path: Path) -> None:
    """32 of them have a mask of the shape of what comes out of the pooler."""
    module: Any = load_checkpoint(as_if_trained(tiny_bert, tmp_path / "model"))
    hidden = module.config.hidden_size
    ids = np.full((4, hidden), 7)
    mask = np.arange(hidden) < np.array([[3], [5], [hidden], [2]])
    inputs = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
    name = "bert.pooler.dense"
    seen = largest_of(module, [(np.arange(4), inputs)], {name: torch.ones(hidden)})
    with torch.inference_mode():
        tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
        last = module.bert(**tensors).last_hidden_state[:, 0]
        dense = module.get_submodule(name)(last)
    assert seen[f"{OUTPUT} {name}"] == pytest.approx(float(dense.abs().max()))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """example.c and all kernels under the address and undefined behaviour sanitizers."""
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    folder = tmp_path_factory.mktemp("sanitized")
    for source in RUNTIME.sources:
        shutil.copy(source, folder)
    command = "c++ -O2 -g -pthread -fno-exceptions -fsanitize=address,undefined -x c example.c"
    command += " -x c++ classify.cpp -o example -lm"
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True)
    if done.returncode and "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("this compiler comes without sanitizers")
    assert done.returncode == 0, done.stderr
    return folder / "example"


def printed(program: Path, file: Path, kernel: str, threads: int, ids: list, types: list) -> str:
    lines = [
        " ".join(map(str, one)) + " | " + " ".join(map(str, its)) + "\n"
        for one, its in zip(ids, types, strict=True)
    ]
    command = [str(program), str(file), kernel, str(threads)]
    environment = {"INTEGERS": "1", "UBSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run(
        command, input="".join(lines), capture_output=True, text=True, env=environment
    )
    if "cannot run" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("wild", [False, True], ids=["tame", "wild"])
@pytest.mark.parametrize("sizes", ODD_SIZES.values(), ids=ODD_SIZES.keys())
@pytest.mark.parametrize("kernel", ["avx2", "vnni", "amx", "c99"])
def test_under_the_sanitizers(
    kernel: str, sizes: Sizes, wild: bool, sanitized: Path, tmp_path: Path
) -> None:
    file = random_model(tmp_path / "model.safetensors", sizes, 7, wild)
    ids, types = random_texts(sizes, 8)
    expected = Reference(*packed_file.read(FORMAT, file))(ids, types)
    found = printed(sanitized, file, kernel, 2, ids, types)
    assert [[int(word) for word in line.split()] for line in found.splitlines()] == (
        expected.tolist()
    )


@given(
    heads=st.integers(1, 5),
    size=st.integers(1, 40),
    ffn=st.integers(1, 200),
    outputs=st.integers(1, 5),
    types=st.integers(0, 2),
    first=st.integers(0, 3),
    seed=st.integers(0, 2**20),
    wild=st.booleans(),
)
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_shape_gives_the_judges_integers(
    heads: int,
    size: int,
    ffn: int,
    outputs: int,
    types: int,
    first: int,
    seed: int,
    wild: bool,
    sanitized: Path,
    tmp_path: Path,
) -> None:
    sizes = Sizes(
        heads * size, 2, heads, ffn, 30, 40, types, first, outputs, seed % 2, seed // 2 % 2
    )
    file = random_model(tmp_path / "model.safetensors", sizes, seed, wild)
    ids, kinds = random_texts(sizes, seed)
    expected = Reference(*packed_file.read(FORMAT, file))(ids, kinds).tolist()
    for kernel in ("", "avx2"):
        found = printed(sanitized, file, kernel, 1, ids, kinds)
        assert [[int(word) for word in line.split()] for line in found.splitlines()] == expected
