"""The stages of dvc.yaml as commands, each with what it writes; and the export's own program."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EXPORTED = "exports/mrpc/predict.py"


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
        arguments: of the interpreter.
        outputs: files and folders that it writes.
        stays: those of them that DVC does not remove before the command.
    """

    arguments: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    stays: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """In short: `quantize mrpc 42 fp32`."""
        words = self.arguments[1:] if self.arguments[0] == "-m" else self.arguments[:1]
        words = tuple(word for word in words if not word.startswith("--"))
        return " ".join(words).removeprefix("stages.").removeprefix("exports/mrpc/")

    @property
    def stage(self) -> str:
        return self.name.split()[0]

    def writes(self, path: str) -> bool:
        """Whether the path is one of its outputs or lies in one."""
        return any(path == out or path.startswith(f"{out}/") for out in self.outputs)


PREDICT = Job((EXPORTED, "ba co di", "fu le mo"))


def jobs(params: dict[str, Any]) -> list[Job]:
    """In the order in which dvc.yaml names them, which is one in which they can run."""
    stages: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = []
    for stage in stages.values():
        matrix: dict[str, str] = stage.get("matrix", {})
        for values in itertools.product(*(items(params, named) for named in matrix.values())):
            item = dict(zip(matrix, values, strict=True))
            entries = [
                entry if isinstance(entry, dict) else {entry: {}}
                for kind in ("outs", "metrics", "plots")
                for entry in stage.get(kind, [])
            ]
            outputs = {
                filled(path, item): facts for each in entries for path, facts in each.items()
            }
            found.append(
                Job(
                    tuple(filled(stage["cmd"], item).split()[1:]),
                    tuple(outputs),
                    tuple(path for path, facts in outputs.items() if facts.get("persist")),
                )
            )
    return found


def items(params: dict[str, Any], named: str) -> list[str]:
    """What `${finetune.seeds}` stands for; of a section its keys."""
    value: Any = params
    for key in named.removeprefix("${").removesuffix("}").split("."):
        value = value[key]
    return [str(each) for each in value]


def filled(text: str, item: dict[str, str]) -> str:
    """As DVC fills it: the whole of an item becomes options."""
    options = " ".join(f"--{key} {value}" for key, value in item.items())
    text = text.replace("${item}", options)
    return re.sub(r"\$\{item\.(\w+)\}", lambda match: item[match[1]], text)
