"""The race in one picture: bars, one panel per model.

`python -m bench.picture bench` draws race.svg anew from the results.json there.
"""

from pathlib import Path
from typing import Any

from bench.arithmetic import best_peer, ratio
from bench.ours import TAKEN_AWAY
from bench.peers import names as peer_names
from bench.report import TITLES
from stages.plumbing.command import run_stage
from stages.plumbing.files import new_file
from stages.plumbing.json_file import read_json

OURS, THEIRS, FASTEST = "#1f77b4", "#b0b0b0", "#e08a1e"


def draw(results: dict[str, Any], target: Path) -> None:
    """Speed against the tutorial's fp32 on one thread, with the ratio to the best peer beside it.

    Nothing is drawn where no model was raced.
    """
    models = list(dict.fromkeys(row["model"] for row in results["runners"]))
    if not models:
        return
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "race"  # the same figures give the same bytes
    matplotlib.rcParams["svg.fonttype"] = "none"  # letters stay letters: a fifth of the size
    matplotlib.rcParams["font.sans-serif"] = ["DejaVu Sans", "Verdana"]  # equally wide
    from matplotlib import pyplot

    height = 1.5 + 0.34 * max(
        sum(row["model"] == model for row in results["runners"]) for model in models
    )
    figure, panels = pyplot.subplots(1, len(models), figsize=(6.2 * len(models), height))
    for model, panel in zip(models, [panels] if len(models) == 1 else panels, strict=True):
        seconds = {
            row["runner"]: row["seconds"]["1"]
            for row in results["runners"]
            if row["model"] == model and "1" in row["seconds"] and row["runner"] not in TAKEN_AWAY
        }
        best = best_peer(seconds)
        base = seconds.get("tutorial_fp32") or max(seconds.values())
        order = sorted(seconds, key=lambda name: -seconds[name])
        colours = [
            FASTEST if name == best else THEIRS if name in peer_names() else OURS for name in order
        ]
        values = [base / seconds[name] for name in order]
        bars = panel.barh(order, values, color=colours)
        labels = []
        for name, value in zip(order, values, strict=True):
            against = ratio(seconds.get(best or ""), seconds[name])
            beside = f" ({against:.2f}x the best peer)" if against and name != best else ""
            labels.append(f"{value:.2f}x{beside}")
        panel.bar_label(bars, labels, padding=3, fontsize=8)
        panel.set_xlim(0, max(values) * 1.55)
        panel.set_title(TITLES[model].replace("*", "").split(" (")[0], fontsize=10)
        panel.set_xlabel("times as fast as the tutorial's fp32, one thread", fontsize=9)
        panel.tick_params(labelsize=9)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    figure.suptitle(
        "Blue: ours. Grey: others, orange the fastest of their int8, all on the same batches "
        "but the tutorial's.\n"
        f"{results['environment']['cpu']}; {results['instruction_set']}",
        fontsize=9,
        y=0.02,
        va="bottom",
    )
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    with new_file(target) as partial:
        figure.savefig(partial, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def redraw(folder: str) -> None:
    """Draw the race whose results.json lies in FOLDER anew."""
    draw(read_json(Path(folder) / "results.json"), Path(folder) / "race.svg")


if __name__ == "__main__":
    run_stage(redraw)
