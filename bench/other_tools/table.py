"""The comparison as tables, from docs/evidence/three_tools.json."""

from collections.abc import Mapping
from typing import Any

from bench.other_tools.questions import QUESTIONS
from stages.reporting.markdown_table import pipe_table


def markdown(found: Mapping[str, Any]) -> str:
    """Who took what, who answers what, and below them what the answers rest on."""
    took = [tool for tool in found["tools"] if not tool["left_out"]]
    parts = [
        facts(found),
        pipe_table([cost_cells(tool, bool(found["contended"])) for tool in took]),
        pipe_table(
            [
                {"question": question}
                | {tool["title"]: tool["questions"][key]["answered"] for tool in took}
                for key, (question, _) in QUESTIONS.items()
            ]
        ),
        *(evidence(tool) for tool in took),
    ]
    parts += [
        f"{tool['title']}: left out, {tool['left_out']}."
        for tool in found["tools"]
        if tool["left_out"]
    ]
    return "\n\n".join(parts)


def facts(found: Mapping[str, Any]) -> str:
    model, machine = found["model"], found["environment"]
    kind = (
        f"{model['model_type']}, {model['num_hidden_layers']} layers of {model['hidden_size']}"
        if "num_hidden_layers" in model and "hidden_size" in model
        else model["model_type"]
    )
    busy = (
        " CONTENDED: other processes ran, so wall minutes are left out, and no latency is to be "
        "quoted."
        if found["contended"]
        else ""
    )
    return (
        f"{model['data']}: {model['texts']:,} texts; {kind}, fp32 {model['fp32_mb']:.1f} MB. "
        f"{machine['cpu']}, {machine['instruction_set']}, {machine['cores']} cores, "
        f"{found['date']}.{busy}"
    )


def cost_cells(tool: Mapping[str, Any], contended: bool) -> dict[str, str]:
    steps = tool["steps"]
    scores = [f"{name} {value:.4f}" for name, value in tool["reported"].items()]
    cells = {
        "tool": f"{tool['title']} {tool['version']}".strip(),
        "commands": str(len(steps)),
        "lines to write": str(sum(len(lines) for lines in tool["files"].values())),
        "CPU minutes": f"{sum(step['cpu_minutes'] for step in steps):.1f}",
        "wall minutes": f"{sum(step['wall_minutes'] for step in steps):.1f}",
        "MB": f"{tool['size_mb']:.1f}",
        "answers unlike fp32's": f"{tool['differing']:,}",
        "score that it reports": ", ".join(scores) or "none",
        "accuracy, counted here": f"{tool['accuracy']:.4f}",
    }
    if contended:
        del cells["wall minutes"]
    return cells


def evidence(tool: Mapping[str, Any]) -> str:
    """What was typed and written, and for each question what was said."""
    typed = [f"- typed: `{step['typed']}`" for step in tool["steps"]]
    written = [f"- written: {name}, {len(lines)} lines" for name, lines in tool["files"].items()]
    said = [
        f"- {key}: {one['answered']}. {one['evidence']}" for key, one in tool["questions"].items()
    ]
    return "\n".join([f"{tool['title']}:", "", *typed, *written, *said])
