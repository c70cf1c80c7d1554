"""This project: `make check`, in a clone of what is committed, since it writes params.yaml."""

import re
import subprocess
import sys
from pathlib import Path

from bench.other_tools.job import Job
from bench.other_tools.questions import Judgement, Said, if_found, unless_said
from bench.other_tools.steps import Command
from stages import variants
from stages.dataset.task import Task
from stages.model.tokens import Predict
from stages.plumbing.json_file import read_json
from stages.plumbing.yaml_file import read_yaml

TITLE, PACKAGE = "this pipeline", ""
REQUIREMENTS: tuple[str, ...] = ()
MODULES: tuple[str, ...] = ()
ENDINGS = (".onnx", ".pt", ".safetensors")  # of files with weights
# On the page, over the table of a variant's texts.
CHANGED = re.compile(r"<summary><strong>(\w+)</strong>: (\d[\d,]* of \d[\d,]* answers change)")


def prepare(folder: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", ".", str(folder)], check=True)


def files(job: Job) -> dict[str, str]:
    return {}


def commands(job: Job) -> list[Command]:
    started = (sys.executable, "-m", "stages.commands.check", "MODEL", "DATA")
    return [Command("make check MODEL=MODEL DATA=DATA", started)]


def task_of(folder: Path) -> str:
    name: str = read_yaml(folder / "params.yaml")["tasks"][0]
    return name


def shipped(folder: Path) -> str:
    name: str = read_json(folder / "metrics" / task_of(folder) / "export.json")["variant"]
    return name


def written(folder: Path) -> dict[str, str]:
    reports = folder / "reports" / task_of(folder)
    found = [reports / "compare.md", reports / "index.html"]
    return {str(file.relative_to(folder)): file.read_text() for file in found}


def judge(said: Said) -> dict[str, Judgement]:
    page = Said(next(text for name, text in said.files.items() if name.endswith("compare.md")), {})
    listed = [(name, CHANGED.search(text)) for name, text in said.files.items()]
    texts = next((f"{name}: {found[1]}, {found[2]}" for name, found in listed if found), "")
    more = page.line(r"undecided on .* texts would decide") or page.line(r"undecided on")
    judged = {
        "ship": said.line(r"^\S+ ships: "),
        "lose": said.line(r"^\S+ loses: .*(%: .* to |nothing: it is)"),
        "faster": said.line(r"^\S+ faster: .*batch 1,"),
        "smaller": said.line(r"^\S+ smaller: "),
        "texts": texts,
        "undecided": more or said.line(r"^\S+ loses: .*(within|over) budget"),
    }
    printed = Said(said.printed, {})
    return {name: if_found(line, unless_said(printed, name)) for name, line in judged.items()}


def reported(said: Said) -> dict[str, float]:
    found = re.search(r"loses: +(?:nothing: it is fp32 itself, )?(\w+) (\d\.\d+)", said.printed)
    return {found[1]: float(found[2])} if found else {}


def artifact(folder: Path) -> Path:
    seed = read_yaml(folder / "params.yaml")["finetune"]["seeds"][0]
    return folder / "models" / task_of(folder) / f"seed_{seed}" / shipped(folder)


def result(folder: Path) -> Path:
    return next(file for file in sorted(artifact(folder).iterdir()) if file.suffix in ENDINGS)


def load(folder: Path, job: Job) -> tuple[Predict, tuple[str, ...]]:
    task = Task.model_validate_json((folder / "data" / task_of(folder) / "task.json").read_text())
    return variants.get(shipped(folder)).engine.load(artifact(folder)), tuple(task.labels)
