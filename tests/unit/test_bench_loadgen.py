"""LoadGen beside our own clock."""

import time

import pytest

from bench import loadgen


def turns(*pairs: tuple[float, float]) -> loadgen.Turns:
    return [{"ours": ours, "loadgen": theirs} for ours, theirs in pairs]


def test_what_counts_is_the_ratio_within_a_turn() -> None:
    """A machine that is half as fast in one turn of three changes nothing."""
    compared = loadgen.compared(turns((10.0, 9.9), (20.0, 19.8), (10.2, 10.0)))
    assert compared["ours"] == 10.2
    assert compared["loadgen"] == 10.0
    assert compared["difference_pct"] == pytest.approx(1.0101, abs=1e-3)
    assert compared["within_5_pct"]
    low, high = compared["interval_pct"]
    assert (low, high) == (pytest.approx(1.0101, abs=1e-3), pytest.approx(2.0))


def test_more_than_5_percent_apart_is_said() -> None:
    assert not loadgen.compared(turns((10.6, 10.0)))["within_5_pct"]
    assert not loadgen.compared(turns((9.4, 10.0)))["within_5_pct"]


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


@pytest.mark.skipif(not loadgen.available(), reason="mlcommons-loadgen is not installed")
def test_both_clocks_mean_the_same_text_by_the_90th_percentile() -> None:
    """Of 68 texts it is the 62nd."""
    seconds = [0.002] * 61 + [0.05] + [0.4] * 6

    def alone(i: int) -> None:
        time.sleep(seconds[i])

    for clock in (loadgen.our_p90, loadgen.single_stream):
        assert 50 <= clock(alone, 68) < 400
