"""Races against the best peer alone, at other times, and where the next one will lie.

One race's own interval draws its batches anew; how fast a core is for one library or another that
hour it cannot know. So races are repeated (`make bench ARGS="--peer onnxruntime_int8 --again"`),
each is a draw, and the interval of the next is that of a new draw (Student's t, of logarithms).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bench.results import LEADS
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.reporting.markdown_table import pipe_table

FILE = Path(__file__).parent / "reruns.json"
CONFIDENCE = 0.95


def add(results: dict[str, Any], began: str, others_pct: float, file: Path = FILE) -> None:
    """Write down the leads of a race.

    Args:
        began: when, ISO 8601.
        others_pct: what other processes took of the machine meanwhile.
    """
    before = read_json(file, list) if file.exists() else []
    facts = {"began": began, "cpu": cpu_of(results), "others_pct": round(others_pct, 1)}
    facts |= {"peers": sorted(results["peers"]), **leads(results)}
    write_json(file, [*before, facts])


def cpu_of(results: dict[str, Any]) -> str:
    environment = results["environment"]
    simulated = "AVX2 simulated" if results["simulated"] else environment["instruction_set"]
    return f"{environment['cpu']}, {simulated}"


def leads(results: dict[str, Any]) -> dict[str, float]:
    measured = {target["name"]: target["measured"] for target in results["targets"]}
    return {name: measured[name] for name, *_ in LEADS if measured[name] is not None}


def of_the_next(values: Sequence[float]) -> tuple[float, float]:
    """The interval in which a further ratio lies, 95 % sure.

    Args:
        values: at least two, positive.
    """
    logs = np.log(values)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1)
    reach *= (1 + 1 / len(logs)) ** 0.5
    return float(np.exp(logs.mean() - reach)), float(np.exp(logs.mean() + reach))


def markdown(committed: dict[str, Any], reruns: Sequence[dict[str, Any]]) -> str:
    """The committed race and its reruns on the same kind of CPU, a row each, and what they say."""
    cpu = cpu_of(committed)
    whole = {"began": committed["date"], "whole": True} | leads(committed)
    races = [whole, *(one for one in reruns if one["cpu"] == cpu)]
    names = [name for name, *_ in LEADS]
    cells = []
    for one in races:
        when = one["began"].replace("T", " ") + (", all peers" if "whole" in one else "")
        others = f"{one['others_pct']:.0f} %" if "others_pct" in one else "not recorded"
        figures = {name: f"{one[name]:.2f}" if name in one else "-" for name in names}
        cells.append({"race": when, "other work": others} | figures)
    if len(races) > 2:
        ends = {name: of_the_next([one[name] for one in races if name in one]) for name in names}
        figures = {name: f"{low:.2f} to {high:.2f}" for name, (low, high) in ends.items()}
        cells.append({"race": "**the next one, 95 %**", "other work": ""} | figures)
    return f"{cpu}:\n\n{pipe_table(cells)}"
