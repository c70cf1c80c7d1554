"""Two Python threads at once, and any number of torch's own: the answers of one alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.engines.safe_l.rounding import quantize_for
from stages.variants.int8_fast.engine import load
from tests.building import as_if_trained, batch, build, make_ingredients
from tests.fast_layer import fast_layer

ROUNDS = 30


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def artifact(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("threads")
    source = make_ingredients(as_if_trained(tiny_bert, folder / "trained"), folder)
    return build("int8_fast", source, folder / "int8_fast")


def test_one_layer(kernel: str, threads: int) -> None:
    torch.manual_seed(0)
    safe = quantize_for(torch.randn(200, 300), 8)
    layer = fast_layer(kernel, safe.weight, safe.scale, torch.zeros(200), activation="gelu")
    inputs = [torch.randn(rows, 300) for rows in (1, 5, 64, 300)]
    alone = [layer(x) for x in inputs]

    def again(_: int) -> bool:
        return all(torch.equal(layer(x), y) for x, y in zip(inputs, alone, strict=True))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(again, range(ROUNDS)))


def test_the_classifier(kernel: str, threads: int, artifact: Path) -> None:
    predict = load(artifact)
    batches = [batch(rows, length) for rows, length in ((1, 12), (5, 12), (8, 40))]
    alone = [predict(one) for one in batches]

    def again(_: int) -> bool:
        return all(np.array_equal(predict(one), y) for one, y in zip(batches, alone, strict=True))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(again, range(ROUNDS)))


@pytest.mark.parametrize("n", [24, 400])
def test_a_layer_in_pieces_is_the_layer(kernel: str, n: int) -> None:
    """More threads than panels, more rows than a block, more inputs than a cut."""
    torch.manual_seed(0)
    safe = quantize_for(torch.randn(n, 2500), 16)
    layer = fast_layer(kernel, safe.weight, safe.scale, torch.zeros(n))
    x = torch.randn(300, 2500)
    before, outputs = torch.get_num_threads(), []
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        outputs.append(layer(x))
    torch.set_num_threads(before)
    assert torch.equal(outputs[1], outputs[0])
    assert torch.equal(outputs[2], outputs[0])


def test_the_number_of_threads_changes_no_answer(kernel: str, artifact: Path) -> None:
    predict, one = load(artifact), batch(9, 40)
    before, answers = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        answers.append(predict(one))
    torch.set_num_threads(before)
    assert np.array_equal(answers[0], answers[1])
