"""What a reviewer wants to see of a pull request: its figures against the base's, and two pictures.

All of it is made from what lies in git, so neither a remote nor a rerun is needed. A comment on
GitHub shows no picture that has no address, but it draws Mermaid: so the two are in it as Mermaid,
and beside it as SVG in the templates of `dvc plots`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from stages.plumbing import paths
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.files import write_text
from stages.plumbing.json_file import read_json
from stages.reporting.choice import rows_of
from stages.reporting.escaping import in_markdown
from stages.reporting.row import Row
from stages.settings.params import load_params

TEMPLATES = Path(".dvc/plots")
LONGEST = 60_000  # characters of a comment; GitHub refuses more than 65,536
HERE = "here"  # what `dvc plots` calls a revision
Rows = dict[str, Row]


def pull_request(base: str, folder: str) -> None:
    """Write comment.md and, of each task, <task>_drop.svg and <task>_size.svg to `folder`.

    Raises:
        UserError: git does not know `base`, or a task has no results in git.
    """
    out, parts = Path(folder), []
    for task in load_params().tasks:
        rows, changed = slowest_first(task), changes(base, paths.METRICS / task / "ships.json")
        write_text(out / f"{task}_drop.svg", svg("drop_against_latency", drops(rows), task))
        write_text(out / f"{task}_size.svg", svg("size_by_part", sizes(task, list(rows)), task))
        page = (paths.REPORTS / task / "compare.md").read_text(encoding="utf-8")
        parts += [
            f"## {task}: what ships, here against {in_markdown(base)}",
            changed,
            mermaid(drop_chart(rows)),
            mermaid(size_chart(rows)),
            f"<details><summary>the whole comparison</summary>\n\n{page}\n</details>",
        ]
    write_text(out / "comment.md", "\n\n".join(parts)[:LONGEST] + "\n")
    print(f"{out}: comment.md and its pictures")


def slowest_first(task: str) -> Rows:
    rows = rows_of(task)
    if not rows:
        raise UserError(f"{task} has no results in metrics/; run 'dvc repro' and commit metrics/")
    return dict(sorted(rows.items(), key=lambda item: -item[1].cost.p90_ms))


def changes(base: str, file: Path) -> str:
    """What `dvc metrics diff` says of `file` between the commit `base` and this folder.

    Raises:
        UserError: git does not know `base`.
    """
    command = [sys.executable, "-m", "dvc", "metrics", "diff", "--md", base, "--targets", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
        raise UserError(f"cannot compare with '{base}' ({said}); fetch it, or name another commit")
    return done.stdout.strip() or "No figure of what ships has changed."


def drops(rows: Rows) -> list[dict[str, Any]]:
    """As reports/<task>/compare.csv has them, which is not in git."""
    found = []
    for name, row in rows.items():
        drop, cost = row.over_seeds["validation"].drop, row.cost
        ends = {
            "drop_mean_points": drop.points,
            "drop_mean_low": drop.low,
            "drop_mean_high": drop.high,
        }
        found.append(
            {"rev": HERE, "variant": name, "p90_ms": cost.p90_ms, "size_mb": cost.size_mb}
            | ends
            | {"on_front": str(int(row.on_front))}
        )
    return found


def sizes(task: str, names: list[str]) -> list[dict[str, Any]]:
    """As reports/<task>/size.csv has them."""
    parts = {name: read_json(paths.metric(task, "size", name))["parts"] for name in names}
    return [
        {"rev": HERE, "variant": name, "part": part.removesuffix("_mb"), "size_mb": size}
        for name, of_name in parts.items()
        for part, size in of_name.items()
    ]


def svg(template: str, rows: list[dict[str, Any]], title: str) -> str:
    """What `dvc plots` would show, drawn without a browser."""
    import vl_convert

    text = (TEMPLATES / f"{template}.json").read_text(encoding="utf-8")
    text = text.replace('"<DVC_METRIC_DATA>"', json.dumps(rows))
    text = text.replace("<DVC_METRIC_TITLE>", title).replace("<DVC_METRIC_Y>", "drop_mean_points")
    drawn: str = vl_convert.vegalite_to_svg(text)
    return drawn


def mermaid(lines: list[str]) -> str:
    return "\n".join(["```mermaid", *lines, "```"])


def drop_chart(rows: Rows) -> list[str]:
    """Right is slower, up is better: places in a square, since Mermaid has no plot of points."""
    points = {name: row.over_seeds["validation"].drop.points for name, row in rows.items()}
    slowest = max(row.cost.p90_ms for row in rows.values())
    most = max(map(abs, points.values())) or 1.0
    places = {
        name: (0.95 * row.cost.p90_ms / slowest, 0.5 - 0.45 * points[name] / most)
        for name, row in rows.items()
    }
    return [
        "quadrantChart",
        "    title Drop on validation against latency",
        f'    x-axis "p90 0 ms" --> "{slowest:.1f} ms"',
        f'    y-axis "loses {most:.2f} points" --> "gains {most:.2f}"',
        *(f'    "{name}": [{x:.3f}, {y:.3f}]' for name, (x, y) in places.items()),
    ]


def size_chart(rows: Rows) -> list[str]:
    return [
        "xychart-beta",
        '    title "Size in MB"',
        f"    x-axis {json.dumps(list(rows))}",
        f"    bar [{', '.join(f'{row.cost.size_mb:.2f}' for row in rows.values())}]",
    ]


if __name__ == "__main__":
    run_stage(pull_request)
