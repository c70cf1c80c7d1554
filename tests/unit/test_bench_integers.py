"""What is made of the timings of ibert: medians, ratios, targets."""

import pytest

from bench.integers import AT_LEAST, AT_MOST, judge, ratios
from bench.progress import Outcome
from bench.workloads import BERT, MINILM


def outcome(**ms: list[float]) -> Outcome:
    """Samples by `<runner>_<threads>_<kind>`."""
    samples = []
    for name, times in ms.items():
        runner, threads, kind = name.rsplit("_", 2)
        facts = {"runner": runner, "threads": int(threads), "kind": kind}
        samples += [facts | {"ms": time} for time in times]
    return Outcome(samples=samples, runners={"int8_fast": {"peak_mb": 400.0}})


OUTCOMES = {
    BERT: outcome(
        fp32_1_sorted=[400, 360, 9000],
        int8_fast_less_runtime_1_sorted=[150, 150],
        int8_fast_1_sorted=[130],
        ibert_paper_1_sorted=[1000],
        ibert_1_sorted=[100, 90, 110],
        ibert_2_sorted=[50],
    ),
    MINILM: outcome(
        int8_fast_less_runtime_1_length=[2.5],
        int8_fast_1_length=[1.25],
        ibert_1_length=[1.0],
        int8_fast_less_runtime_1_sorted=[9],
        ibert_1_sorted=[6],
    ),
}


def test_ratios_are_those_of_medians_over_the_same_batches() -> None:
    found = ratios(OUTCOMES)
    assert found["ibert_vs_fp32_x"] == 4
    assert found["ibert_vs_int8_fast_x"] == 1.5
    assert found["ibert_vs_int8_fast_runtime_x"] == 1.3
    assert found["int8_fast_minilm_len16_vs_in_torch_x"] == 2
    assert found["ibert_vs_hf_simulation_x"] == 10
    assert found["ibert_threads2_vs_1_x"] == 2
    assert found["ibert_minilm_len16_vs_int8_fast_x"] == 2.5
    assert found["ibert_minilm_vs_int8_fast_x"] == 1.5
    assert found["int8_fast_peak_mb"] == 400


def test_who_was_left_out_has_no_ratio() -> None:
    without = {BERT: outcome(ibert_1_sorted=[100]), MINILM: outcome(ibert_1_length=[1.0])}
    assert ratios(without)["ibert_vs_hf_simulation_x"] is None


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("ibert_vs_fp32_x", 3.6, True),
        ("ibert_vs_fp32_x", 3.59, False),
        ("ibert_first_answer_s", 0.15, True),
        ("int8_fast_peak_mb", 451.0, False),
        ("ibert_threads2_vs_1_x", None, False),
    ],
)
def test_a_target_is_met_from_its_side(name: str, value: float | None, met: bool) -> None:
    judged = {target["name"]: target for target in judge({name: value})}
    assert judged[name]["met"] is met
    assert judged.keys() == AT_LEAST.keys() | AT_MOST.keys()
