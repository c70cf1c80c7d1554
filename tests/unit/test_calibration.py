"""Calibration: which rows are looked at, and which range their activations are given."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from stages.engines.int8.calibration import choose_rows, find_ranges, mse_range, percentile_range
from stages.engines.int8.layers import layers
from stages.engines.int8.quantizers import Range, affine
from stages.model.classifier import load_checkpoint
from stages.model.tokens import Batch
from stages.plumbing.command import UserError
from stages.variants import Ingredients
from tests.building import as_if_trained, batch, calibrate, make_ingredients, training_rows

BINS, STEPS = 2000, 127
UNIFORM = np.linspace(-1, 1, 100_001)
OUTLIER = np.append(UNIFORM, 50.0)


def histogram(values: np.ndarray) -> tuple[np.ndarray, Range]:
    ends = Range(float(values.min()), float(values.max()))
    return np.histogram(values, bins=BINS, range=ends)[0], ends


def squared_error(values: np.ndarray, span: Range) -> float:
    """Of quantizing them with this range, by torch's own operator."""
    scale, zero = affine(span, STEPS)
    exact = torch.from_numpy(values).float()
    rounded = torch.fake_quantize_per_tensor_affine(exact, scale, zero, 0, STEPS)
    return float(((exact - rounded).double() ** 2).sum())


# ---- percentiles


@pytest.mark.parametrize(
    ("values", "percentile", "expected"),
    [
        (UNIFORM, 100, Range(-1, 1)),
        (UNIFORM, 90, Range(-0.9, 0.9)),
        (UNIFORM, 99, Range(-0.99, 0.99)),
        (UNIFORM + 3, 90, Range(2.1, 3.9)),
        (OUTLIER, 100, Range(-1, 50)),
        (OUTLIER, 99.99, Range(-1, 1)),
        (-OUTLIER, 99.99, Range(-1, 1)),
        (np.array([-1.0] * 50 + [1.0] * 50), 99, Range(-1, 1)),
        (np.full(100, 2.5), 99.99, Range(2.5, 2.5)),
        (np.zeros(100), 99.99, Range(0, 0)),
    ],
    ids=["all", "90 %", "99 %", "shifted", "outlier kept", "outlier cut", "negative outlier cut",
         "two values", "constant", "zero"],
)  # fmt: skip
def test_a_percentile_leaves_out_the_same_share_on_both_sides(
    values: np.ndarray, percentile: float, expected: Range
) -> None:
    counts, ends = histogram(values)
    width = (ends.high - ends.low) / BINS
    found = percentile_range(counts, ends, percentile)
    assert found == pytest.approx(expected, abs=1.01 * width)


@pytest.mark.parametrize("percentile", [90, 99, 99.9, 100])
@pytest.mark.parametrize("seed", [0, 1])
def test_at_least_that_share_of_the_values_lies_inside(percentile: float, seed: int) -> None:
    values = np.random.default_rng(seed).standard_t(3, size=20_000)
    found = percentile_range(*histogram(values), percentile)
    inside = 100 * ((values >= found.low) & (values <= found.high)).mean()
    assert inside >= percentile - 1e-9


# ---- least squared error


def test_of_uniform_values_the_whole_range_has_the_least_error() -> None:
    found = mse_range(*histogram(UNIFORM), STEPS)
    assert found == pytest.approx(Range(-1, 1), abs=0.02)


@pytest.mark.parametrize(("bulk", "cut"), [(1_000_001, True), (1_001, False)])
def test_outliers_are_cut_where_that_costs_less_than_coarser_steps(bulk: int, cut: bool) -> None:
    """Their own error is squared, so it takes very many others to outweigh it."""
    values = np.append(np.linspace(-1, 1, bulk), [-10.0, 10.0])
    found = mse_range(*histogram(values), STEPS)
    if cut:
        assert 1 <= found.high < 5
        assert squared_error(values, found) < 0.5 * squared_error(values, Range(-10, 10))
    else:
        assert found.high > 9


@pytest.mark.parametrize("sign", [1, -1])
def test_an_outlier_on_one_side_is_cut_on_that_side(sign: int) -> None:
    """Of N even values in -1..1 and one at 50, n steps up to h cost N ((h + 1) / n)^2 / 12."""
    bulk = np.linspace(-1, 1, 1_000_001)
    values = sign * np.append(bulk, 50.0)
    found = mse_range(*histogram(values), STEPS)
    own, other = (found.high, found.low) if sign > 0 else (-found.low, -found.high)
    weight = len(bulk) / (12 * STEPS**2)
    best = (50 - weight) / (1 + weight)  # where that, and (50 - h)^2 for the outlier, is least
    assert own == pytest.approx(best, rel=0.03)
    assert other == pytest.approx(-1, abs=0.05)
    whole = Range(float(values.min()), float(values.max()))
    assert squared_error(values, found) < 0.2 * squared_error(values, whole)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_pair_of_ends_has_a_much_smaller_error(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_t(3, size=20_000) + random.uniform(-3, 3)
    counts, ends = histogram(values)
    found = mse_range(counts, ends, STEPS)
    shares = np.linspace(0.05, 1, 20)
    others = [Range(ends.low * low, ends.high * high) for low in shares for high in shares]
    least = min(squared_error(values, span) for span in others)
    assert squared_error(values, found) <= 1.02 * least


@pytest.mark.parametrize("values", [UNIFORM + 3, UNIFORM - 3], ids=["positive", "negative"])
def test_a_range_on_one_side_of_zero_stays_there(values: np.ndarray) -> None:
    found = mse_range(*histogram(values), STEPS)
    assert found == pytest.approx(Range(float(values.min()), float(values.max())), abs=0.02)


@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
def test_a_constant_is_kept_exactly(value: float) -> None:
    values = np.full(100, value)
    found = mse_range(*histogram(values), STEPS)
    assert squared_error(values, found) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_never_larger_than_that_of_the_whole_range(seed: int) -> None:
    values = np.random.default_rng(seed).standard_t(3, size=20_000)
    counts, ends = histogram(values)
    found = mse_range(counts, ends, STEPS)
    assert squared_error(values, found) <= 1.02 * squared_error(values, ends)


# ---- ranges of a model


@pytest.fixture(scope="module")
def model(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """Of which padding has an outlier in its embedding that no word has."""
    folder = as_if_trained(tiny_bert, tmp_path_factory.mktemp("model") / "tiny-bert")
    module = load_checkpoint(folder)
    with torch.no_grad():
        module.get_submodule("bert.embeddings.word_embeddings").weight[0, 7] = 1000.0  # type: ignore[operator]
    return module


def alone(texts: Batch) -> list[tuple[np.ndarray, Batch]]:
    """Each text in a batch of its own, without padding."""
    lengths = texts["attention_mask"].sum(axis=1)
    return [
        (np.array([i]), {name: array[i : i + 1, :length] for name, array in texts.items()})
        for i, length in enumerate(lengths)
    ]


def test_padded_positions_do_not_widen_a_range(model: nn.Module) -> None:
    texts = batch(rows=6)
    together = [(np.arange(6), texts)]
    found = find_ranges(model, together, "percentile", 100, 7)
    expected = find_ranges(model, alone(texts), "percentile", 100, 7)
    assert found.keys() == expected.keys() == layers(model, nn.Linear).keys()
    for name, span in found.items():
        assert span == pytest.approx(expected[name], rel=1e-3, abs=1e-4), name
    # And if padding were text, it would.
    seen = [(np.arange(6), texts | {"attention_mask": np.ones_like(texts["attention_mask"])})]
    query = "bert.encoder.layer.0.attention.self.query"
    assert find_ranges(model, seen, "percentile", 100, 7)[query].high > 1.5 * found[query].high


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_a_range_lies_within_the_ends_that_occur(model: nn.Module, method: str) -> None:
    work = alone(batch(rows=6))
    ends = find_ranges(model, work, "percentile", 100, 7)
    for name, span in find_ranges(model, work, method, 99, 7).items():  # type: ignore[arg-type]
        assert ends[name].low - 1e-6 <= span.low <= span.high <= ends[name].high + 1e-6


def test_an_activation_that_is_not_a_number_is_refused(tiny_bert: Path) -> None:
    module = load_checkpoint(tiny_bert)
    with torch.no_grad():
        next(iter(layers(module, nn.Embedding).values())).weight[:] = float("nan")  # type: ignore[operator]
    with pytest.raises(UserError, match=r"the input of bert\.encoder.* holds NaN"):
        find_ranges(module, alone(batch(rows=2)), "percentile", 99, 7)


# ---- rows


@pytest.fixture(scope="module")
def ingredients(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Ingredients:
    folder = tmp_path_factory.mktemp("ingredients")
    return make_ingredients(as_if_trained(tiny_bert, folder / "model"), folder)


def test_the_same_rows_are_chosen_every_time_in_their_order(ingredients: Ingredients) -> None:
    first, second = (choose_rows(ingredients.train, 10, seed=0) for _ in "ab")
    pd.testing.assert_frame_equal(first, second)
    assert len(set(first["id"])) == 10
    train = training_rows(48)["id"].tolist()
    positions = [train.index(each) for each in first["id"]]
    assert positions == sorted(positions)
    assert positions != list(range(10))
    assert choose_rows(ingredients.train, 10, seed=1)["id"].tolist() != first["id"].tolist()


@pytest.mark.parametrize("rows", [48, 49, 1000])
def test_where_there_are_no_more_rows_all_are_chosen(ingredients: Ingredients, rows: int) -> None:
    pd.testing.assert_frame_equal(choose_rows(ingredients.train, rows, seed=0), training_rows(48))


@pytest.mark.parametrize(
    ("name", "file"), [("int8_static", "rows.json"), ("int8_mixed", "decision.json")]
)
def test_only_rows_of_train_are_seen_and_the_artifact_says_which(
    name: str, file: str, ingredients: Ingredients, tmp_path: Path
) -> None:
    settings = {"rows": 10} | ({"calibration_rows": 8} if name == "int8_mixed" else {})
    stored = []
    for attempt in ("first", "second"):
        calibrate(name, ingredients, tmp_path / attempt, **settings)
        learned = (tmp_path / attempt).iterdir()
        stored.append({path.name: path.read_bytes() for path in learned})
    assert stored[0] == stored[1]
    facts = json.loads((tmp_path / "first" / file).read_text())
    ids = facts["rows"] if isinstance(facts, dict) else facts
    assert len(ids) == 10
    assert set(ids) <= set(training_rows(48)["id"])
