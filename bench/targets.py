"""The targets of the race, and whether they were met."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

AT_LEAST = {
    "mrpc_vs_tutorial_fp32_x": 6.3,
    "mrpc_vs_best_peer_x": 1.75,
    "minilm_vs_best_peer_x": 1.7,
    "batch1_len128_vs_best_peer_x": 1.6,
    "batch1_len384_vs_best_peer_x": 1.6,
    "minilm_len16_vs_best_peer_x": 2.0,
    "first_answer_vs_best_peer_x": 2.0,
    "peak_memory_vs_best_peer_x": 1.5,
    "share_of_ceiling_pct": 75,
    "native_vnni_vs_best_peer_x": 1.3,
    "threads2_vs_1_x": 1.8,
    "kernel_vs_fbgemm_x": 1.6,
    "kernel_vs_onednn_x": 1.6,
    "kernel_vs_ort_x": 1.4,
}
AT_MOST = {"minilm_differing_answers": 10, "bert_base_mb": 110.5}
FINETUNE = {"finetune_vs_plain_x": 1.3}
# By which a trained model's F1 may be lower: twice the standard error of 408 rows.
F1_NOISE = 0.026


def judge(
    measured: Mapping[str, float | None],
    f1_lost: float = 0.0,
    intervals: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """`{name, target, measured, interval, met}` of every target, in this order.

    Args:
        measured: by name; what is absent or None was not measured, and so is not met.
        f1_lost: of our fine-tuning against the plain one; more than noise spoils that target.
        intervals: of some, see `lead_interval`.
    """
    result = []
    for name, target in (AT_LEAST | AT_MOST | FINETUNE).items():
        value = measured.get(name)
        met = False
        if value is not None:
            met = value <= target if name in AT_MOST else value >= target
            if name in FINETUNE:
                met = met and f1_lost <= F1_NOISE
        facts = {"measured": value, "interval": intervals.get(name), "met": bool(met)}
        result.append({"name": name, "target": target} | facts)
    return result


def missed(target: Mapping[str, Any]) -> str:
    """One line: how far."""
    name, value, goal = target["name"], target["measured"], target["target"]
    if value is None:
        return f"{name}: not measured"
    sign = "at most" if name in AT_MOST else "at least"
    interval = target["interval"]
    spread = " ({:.3g} to {:.3g})".format(*interval) if interval else ""
    verdict = "met" if target["met"] else "missed"
    return f"{name}: {value:.4g}{spread}, should be {sign} {goal:g}: {verdict}"
