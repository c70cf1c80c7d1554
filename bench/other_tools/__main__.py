"""The command line: run each tool, judge what it said, write docs/evidence/three_tools.json."""

import argparse
import os
import sys
from dataclasses import asdict
from datetime import date
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from bench.environment import environment
from bench.environments import Environment, own
from bench.options import SCRATCH, checked
from bench.other_tools import olive, optimum, pipeline
from bench.other_tools.answers import answers, fp32
from bench.other_tools.job import Job
from bench.other_tools.questions import Said
from bench.other_tools.steps import OUTPUT, take
from bench.other_tools.table import markdown
from bench.other_tools.tool import Tool
from stages.commands.repro import need_git
from stages.latency import BUSY_PCT, OtherLoad
from stages.plumbing.command import one_line
from stages.plumbing.files import scratch_folder, write_json
from stages.plumbing.json_file import read_json
from stages.plumbing.signals import signals_end_it
from stages.sources.own_file.labels import spelling

OUT = Path("docs") / "evidence" / "three_tools.json"
FOLDER = SCRATCH / "other_tools"
TOOLS: dict[str, ModuleType] = {"pipeline": pipeline, "olive": olive, "optimum": optimum}


def main(model: str, data: str, chosen: str, out: Path) -> None:
    """Run the `chosen`; of the others, keep the records of the same model and file.

    Raises:
        UserError: a tool is unknown, or the model or file is not what all tools can take.
    """
    need_git()
    names = checked("--tools", chosen, list(TOOLS))
    job = Job.given(model, data)
    tools = {name: cast(Tool, TOOLS[name]) for name in names}
    # Before torch is imported: its imports add to the packages that an environment's key names.
    places = {name: place_of(name, tool) for name, tool in tools.items()}
    key = job.key
    print("fp32: answering" if tools else "no tool is run anew", flush=True)
    expected = answers(fp32(job.model), job.classes, job) if tools else []
    for name, tool in tools.items():
        print(f"{name}: started", flush=True)
        if why := places[name].lacking:
            record = left_out(tool, why)
        else:
            record = run(tool, job, FOLDER / name, places[name].python.parent, expected)
        print(f"{name}: {record['left_out'] or 'done'}", flush=True)
        write_json(FOLDER / f"{name}.json", {"key": key} | record)
    records = [record_of(name, key) for name in TOOLS]
    found = {
        "environment": environment(),
        "contended": any(record["others_pct"] > BUSY_PCT for record in records),
        "date": date.today().isoformat(),
        "model": job.described,
        "tools": records,
    }
    write_json(out, found)
    print(f"\n{markdown(found)}\n\nwritten to {out}; 'make tables' renews docs/other_tools.md")


def place_of(name: str, tool: Tool) -> Environment:
    if tool.REQUIREMENTS:
        return own(name, tool.REQUIREMENTS, tool.MODULES)
    return Environment(Path(sys.executable))


def record_of(name: str, key: str) -> dict[str, Any]:
    """What lies there of this model and file, or that nothing does."""
    file = FOLDER / f"{name}.json"
    record: dict[str, Any] = read_json(file) if file.exists() else {}
    if record.pop("key", "") != key:
        return left_out(cast(Tool, TOOLS[name]), "not run on this model and file yet")
    return record


def left_out(tool: Tool, why: str) -> dict[str, Any]:
    return {"title": tool.TITLE, "left_out": why, "others_pct": 0.0}


def run(tool: Tool, job: Job, folder: Path, programs: Path, expected: list[str]) -> dict[str, Any]:
    """Its record.

    Args:
        programs: where its own are.
        expected: what fp32 answers.
    """
    load, steps = OtherLoad(), []
    with scratch_folder(folder):
        tool.prepare(folder)
        files = tool.files(job)
        for name, text in files.items():
            (folder / name).write_text(text)
        for command in tool.commands(job):
            steps.append(take(command, job.model, job.data, folder, programs))
            if steps[-1].code:
                lines = (folder / OUTPUT).read_text(errors="replace").strip().splitlines()
                last = job.hidden(lines[-1] if lines else "no message", folder)
                keep(folder)
                return left_out(tool, f"'{command.typed}' ended with {steps[-1].code}: {last}")
        load.sample()
        printed = (folder / OUTPUT).read_text(errors="replace")
        written = tool.written(folder)
        said = Said(
            job.hidden(printed, folder),
            {name: job.hidden(text, folder) for name, text in written.items()},
        )
        predict, names = tool.load(folder, job)
        found = [spelling(one) for one in answers(predict, names, job)]
        size = tool.result(folder).stat().st_size
        keep(folder)
    right = [answer == spelling(label) for answer, label in zip(found, job.labels, strict=True)]
    differing = sum(
        answer != spelling(reference) for answer, reference in zip(found, expected, strict=True)
    )
    return {
        "title": tool.TITLE,
        "version": installed(tool.PACKAGE, programs),
        "left_out": "",
        "others_pct": round(load.highest_pct, 1),
        "steps": [asdict(step) for step in steps],
        "files": {
            name: [line for line in job.hidden(text, folder).splitlines() if line.strip()]
            for name, text in files.items()
        },
        "size_mb": size / 1e6,
        "differing": differing,
        "accuracy": sum(right) / len(right),
        "reported": tool.reported(said),
        "questions": {name: asdict(one) for name, one in tool.judge(said).items()},
    }


def keep(folder: Path) -> None:
    """What was printed, beside the folder, to be read when that is gone."""
    (folder / OUTPUT).replace(folder.with_suffix(".log"))


def installed(package: str, programs: Path) -> str:
    """Its version in the environment whose programs lie in `programs`; empty for this project."""
    if not package:
        return ""
    places = [str(place) for place in programs.parent.glob("lib/*/site-packages")]
    return next(
        (one.version for one in distributions(path=places) if one.name == package), "unknown"
    )


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    parser = argparse.ArgumentParser(prog="python -m bench.other_tools", description=__doc__)
    parser.add_argument("model", help="a folder as transformers saves it")
    parser.add_argument("data", help="a CSV of texts and their right labels")
    parser.add_argument(
        "--tools", dest="chosen", default=",".join(TOOLS), help="those that are run anew"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    with one_line("bench.other_tools"), signals_end_it():
        main(**vars(parser.parse_args()))
