"""LoadGen beside our own clock."""

import time

import pytest

from bench import loadgen


def test_medians_of_both_clocks_are_compared() -> None:
    turns = [("ours", 10.0), ("loadgen", 9.8), ("loadgen", 10.0), ("ours", 99.0), ("ours", 9.0)]
    found = loadgen.compared(turns)
    assert found["ours"] == 10.0
    assert found["loadgen"] == pytest.approx(9.9)
    assert found["difference_pct"] == pytest.approx(1.0101, abs=1e-3)
    assert found["within_5_pct"]
    assert found["values"] == {"ours": [10.0, 99.0, 9.0], "loadgen": [9.8, 10.0]}


def test_more_than_5_percent_apart_is_said() -> None:
    assert not loadgen.compared([("ours", 10.6), ("loadgen", 10.0)])["within_5_pct"]
    assert not loadgen.compared([("ours", 9.4), ("loadgen", 10.0)])["within_5_pct"]


@pytest.mark.skipif(not loadgen.available(), reason="mlcommons-loadgen is not installed")
def test_it_asks_for_every_text_once_and_its_clock_sees_the_work() -> None:
    asked: list[int] = []

    def alone(i: int) -> None:
        asked.append(i)
        time.sleep(0.01)

    # Sleeping takes at least as long as it was told, whatever else the machine does.
    assert loadgen.single_stream(alone, 20) >= 10
    assert sorted(asked) == list(range(20))
    assert loadgen.offline(lambda: time.sleep(0.2), 40) <= 200
