"""The table of ratios in Markdown, and what is printed at the end.

`python -m bench.report bench` writes results.md anew from the results.json there.
"""

from pathlib import Path
from typing import Any

from bench.arithmetic import best_peer, ratio
from bench.first_answer import RESOLUTION_S
from bench.ours import PACKED, TAKEN_AWAY
from bench.peers import others_int8
from bench.targets import missed
from bench.workloads import BERT, LENGTHS, MINILM
from stages.plumbing.command import run_stage
from stages.plumbing.files import write_text
from stages.plumbing.json_file import read_json
from stages.reporting.markdown_table import pipe_table

WHOLE = "int8_fast"
LEAD = (
    "What the lead of int8_fast is made of: times as fast as it is, with one part after another "
    "taken away (each line lacks what the lines above it lack), and what each peer has of these. "
    "Without its runtime it is torch that goes from layer to layer; without its kernel it is torch "
    "that multiplies."
)
TARGETS = (
    "Targets. In brackets the interval in which 95 % of reruns lie, as far as one run can tell: "
    "its batches (of single texts: its calls) drawn anew."
)
TITLES = {
    BERT: "BERT-base, **random weights** (speed and size are real, accuracy means nothing)",
    MINILM: "MiniLM-L6, fine-tuned",
}


def markdown(results: dict[str, Any]) -> str:
    """Everything is a ratio but size, memory, loading and counts: those are what they are."""
    machine = results["environment"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {results['instruction_set']}; "
        f"{results['task']}, on {results['date']} in {results['minutes']} minutes"
        f"{sittings(results)}. "
        "Ratios say how many times as fast. "
        "The tutorial's batches all have one shape, so a third of them is timed and counts thrice. "
        "Of ceiling, of int8 wall: operations of the linear layers that a runner needs, without "
        "padding, against a loop in registers; the wall is int8 widened after every product. First "
        "answer: importing the library, loading the model and one text, in a fresh process; what "
        f"every process of the race imports is taken off, and {RESOLUTION_S:g} s is the least.",
        "",
    ]
    for model in dict.fromkeys(row["model"] for row in results["runners"]):
        rows = [row for row in results["runners"] if row["model"] == model]
        whole = [row for row in rows if row["runner"] not in TAKEN_AWAY]
        lines += [f"{TITLES[model]}:", "", pipe_table(table(whole)), ""]
        lines += [f"Left out: {name}, {why}" for name, why in results["left_out"][model].items()]
        lines += [""] * bool(results["left_out"][model])
    if lead := what_the_lead_is_made_of(results):
        lines += [LEAD, "", pipe_table(lead), ""]
    if results["kernels"]:
        lines += ["One linear layer alone, one thread:", "", pipe_table(kernels(results)), ""]
    lines += loadgen(results) + finetuning(results) + libraries(results)
    lines += [TARGETS, "", *(f"- {missed(target)}" for target in results["targets"])]
    return "\n".join(lines) + "\n"


def headline(races: list[dict[str, Any]]) -> str:
    """For README: who is the best peer on each model, and how ours compare with it."""
    cells = []
    for race in races:
        for model in dict.fromkeys(row["model"] for row in race["runners"]):
            rows = [row for row in race["runners"] if row["model"] == model]
            seconds = {row["runner"]: row["seconds"].get("1") for row in rows}
            best = best_peer(seconds)
            instructions = race["environment"]["instruction_set"]
            cell = {
                "CPU": f"{race['environment']['cpu']}, "
                + ("AVX2 *simulated*" if race["simulated"] else instructions),
                "date": race["date"],
                "model": TITLES[model].split(",")[0],
                "best peer": str(best),
            }
            cells.append(
                cell
                | {
                    f"`{name}`": times(ratio(seconds.get(best or ""), seconds[name]))
                    for name in PACKED
                }
            )
    return pipe_table(cells)


def table(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    counts = list(dict.fromkeys(count for row in rows for count in row["seconds"]))
    seconds = {count: {r["runner"]: r["seconds"].get(count) for r in rows} for count in counts}
    first = seconds[counts[0]]
    best = best_peer(first)
    cells = []
    for row in sorted(rows, key=lambda one: -(first[one["runner"]] or 0)):
        name = row["runner"]
        cell = {"runner": f"**{name}** (best peer)" if name == best else name}
        for count in counts:
            base = seconds[count].get("tutorial_fp32")
            cell[f"vs tutorial fp32, {plural(count)}"] = times(ratio(base, seconds[count][name]))
        cell["vs best peer"] = times(ratio(first.get(best or ""), first[name]))
        for length in LENGTHS:
            single = {r["runner"]: r["single_ms"].get(str(length)) for r in rows}
            theirs = single.get(best_peer(single) or "")
            if any(single.values()):
                cell[f"1 text of {length}, vs best"] = times(ratio(theirs, single[name]))
        cell["MB"] = f"{row['size_mb']:.1f}"
        cell["peak memory MB"] = f"{row['peak_mb']:.0f}"
        first_answer = row["first_answer_s"]
        cell["first answer s"] = "-" if first_answer is None else f"{first_answer:.2f}"
        cell["of ceiling"] = percent(row["share_of_ceiling_pct"])
        cell["of int8 wall"] = percent(row["share_of_wall_pct"])
        if any(one["differing_answers"] is not None for one in rows):
            given = row["differing_answers"]
            cell["answers unlike fp32"] = "-" if given is None else str(given)
        cells.append(cell)
    return cells


def what_the_lead_is_made_of(results: dict[str, Any]) -> list[dict[str, str]]:
    """int8_fast, the same with one part after another taken away, and every peer in int8."""
    cells: dict[str, dict[str, str]] = {}
    for model in dict.fromkeys(row["model"] for row in results["runners"]):
        rows = {row["runner"]: row for row in results["runners"] if row["model"] == model}
        if not any(name in rows for name in TAKEN_AWAY):
            continue
        for name in (WHOLE, *TAKEN_AWAY, *others_int8()):
            if (row := rows.get(name)) is None:
                continue
            parts = row["first_token_only"], row["leaves_padding_out"]
            cell = cells.setdefault(name, {"runner": name})
            cell["first token only"], cell["no padding"] = ("yes" if has else "-" for has in parts)
            for kind, key, at in (
                ("all rows", "seconds", "1"),
                ("1 text of 16", "single_ms", "16"),
                ("1 text of 128", "single_ms", "128"),
            ):
                whole = rows[WHOLE][key].get(at)
                cell[f"{model}, {kind}"] = times(ratio(whole, row[key].get(at)))
    return list(cells.values())


def kernels(results: dict[str, Any]) -> list[dict[str, str]]:
    """Times as fast as fp32 at each shape."""
    cells = []
    for shape in results["kernels"]["shapes"]:
        cell = {"shape": f"{shape['n']}x{shape['k']}, {shape['m']} rows"}
        for key in shape:
            if key.endswith("_ms") and key != "fp32_ms":
                cell[key.removesuffix("_ms")] = times(shape["fp32_ms"] / shape[key])
        cells.append(cell)
    return cells


def loadgen(results: dict[str, Any]) -> list[str]:
    lines = []
    for name, tests in results["loadgen"].items():
        for test, figures in tests.items():
            if isinstance(figures, dict):
                low, high = figures["interval_pct"]
                lines.append(
                    f"- LoadGen, {name}, {test}: {figures['loadgen']:.4g}, our clock "
                    f"{figures['ours']:.4g}; within a turn they differ by "
                    f"{figures['difference_pct']:+.1f} % ({low:+.1f} to {high:+.1f}, medians of "
                    f"{len(figures['turns'])} turns)"
                )
            else:
                lines.append(f"- LoadGen, {name}: {figures}")
    return [*lines, ""] if lines else []


def finetuning(results: dict[str, Any]) -> list[str]:
    facts = results["finetuning"]
    if not facts:
        return []
    return [
        f"Fine-tuning, one epoch: {facts['plain_vs_ours_x']:.2f} times as fast as the plain loop "
        f"({facts['seconds']['ours']:.0f} s against {facts['seconds']['plain']:.0f} s), validation "
        f"score {facts['f1']['ours']:.4f} against {facts['f1']['plain']:.4f}.",
        "",
    ]


def libraries(results: dict[str, Any]) -> list[str]:
    lines = [
        f"- {name}: {facts['licence']}; telemetry: {facts['telemetry']}"
        + (f"; {facts['packages']} in an environment of its own" if facts["packages"] else "")
        for name, facts in results.get("peers", {}).items()
    ]
    return ["Licences, and what a library reports to its makers:", "", *lines, ""] if lines else []


def sittings(results: dict[str, Any]) -> str:
    """Said where a race was interrupted: its rounds saw the machine at different times."""
    count = results.get("sittings", 1)
    return f" (the last of {count} sittings; earlier rounds are kept)" if count > 1 else ""


def summary(results: dict[str, Any]) -> str:
    """For the terminal."""
    return "\n".join([markdown(results), f"[{results['instruction_set']}]"])


def plural(count: str) -> str:
    return f"{count} thread" if count == "1" else f"{count} threads"


def times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} %"


def rewrite(folder: str) -> None:
    """Write the tables of the results.json that lies in FOLDER anew."""
    text = markdown(read_json(Path(folder) / "results.json"))
    write_text(Path(folder) / "results.md", text)


if __name__ == "__main__":
    run_stage(rewrite)
