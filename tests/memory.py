"""How much memory the stages take that go through every row, on synthetic texts.

    python -m tests.memory [ROWS] [LONG_ROWS]

Each stage runs in a process of its own: first on few rows, which loads the libraries and the model,
then on many; what it takes more at its peak (VmHWM of Linux) is printed beside what is allowed.
Some 20 minutes with 1,000,000 rows and 20,000 long ones, and 3 GB of a temporary folder.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from stages.plumbing.files import write_json
from tests.conftest import WORDS, write_tiny_bert

ROOT = Path(__file__).parents[1]
ROWS, LONG_ROWS = 1_000_000, 20_000
FEW = 200
# More than 65,536, so that an id takes four bytes.
VOCABULARY = [a + b + c for a in WORDS for b in WORDS for c in WORDS[:20]]
SEED = 42
# Run with the arguments FEW_TASK MANY_TASK; prints MB.
GROWTH = """
import sys
from pathlib import Path
from stages.{stage} import {stage}

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

few, many, *rest = sys.argv[1:]
{stage}(few, *rest)
before = peak()
{stage}(many, *rest)
print("GREW", (peak() - before) // 1024)
"""


class Texts(NamedTuple):
    """Attributes:
    validation: rows that are scored; of train there are `train`.
    words: of each text.
    """

    train: int
    validation: int
    words: int
    max_length: int


def lines(rows: int, words: int) -> Iterator[str]:
    """Of a CSV file: no text twice, two classes."""
    random_ = random.Random(0)
    pool = random_.choices(VOCABULARY, k=100_000)
    yield "review,stars\n"
    for row in range(rows):
        start = random_.randrange(len(pool) - words)
        yield f"{row} {' '.join(pool[start : start + words])},{row % 2}\n"


def write_csv(file: Path, rows: int, words: int) -> None:
    with file.open("w") as target:
        target.writelines(lines(rows, words))


def make_project(folder: Path, tasks: dict[str, Texts]) -> None:
    """A folder to run stages in, with a tiny BERT of random weights; a few steps train it."""
    longest = max(texts.max_length for texts in tasks.values())
    write_tiny_bert(folder / "model", VOCABULARY, longest)
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    training = values["finetune"]["mrpc"] | {"model": "model", "max_steps": 2}
    values |= {"tasks": list(tasks), "quantize": {"fp32": {}}, "csv": {}}
    values["finetune"] = {"seeds": [SEED]}
    values["evaluate"]["min_other_answers_pct"] = 0
    for name, texts in tasks.items():
        files = {}
        for role, rows in (("train", texts.train), ("validation", texts.validation)):
            write_csv(folder / f"{name}_{role}.csv", rows, texts.words)
            files[role] = f"{name}_{role}.csv"
        values["csv"][name] = files | {"text": "review", "label": "stars", "metric": "accuracy"}
        values["finetune"][name] = training | {"max_length": texts.max_length}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    write_json(folder / "metrics/arithmetic.json", {})


def run(folder: Path, command: list[str]) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def prepare(folder: Path, task: str, *stages: str) -> None:
    arguments = {"download_glue": [], "finetune": [f"{SEED}"], "quantize": [f"{SEED}", "fp32"]}
    for stage in stages:
        run(folder, ["-m", f"stages.{stage}", task, *arguments[stage]])


def growth(folder: Path, stage: str, few: str, many: str, *rest: str) -> int:
    """MB that `stage` takes more of the task `many` than of `few`."""
    printed = run(folder, ["-c", GROWTH.format(stage=stage), few, many, *rest])
    return int(printed.rsplit("GREW", 1)[1])


def main(rows: str = str(ROWS), long_rows: str = str(LONG_ROWS)) -> None:
    many, long = int(rows), int(long_rows)
    tasks = {
        "few": Texts(FEW, FEW, 30, 32),
        "scored": Texts(FEW, many, 30, 32),
        "long": Texts(FEW, long, 2000, 32),
        "half_as_long": Texts(FEW, long // 2, 2000, 32),
        "few_of_128": Texts(FEW, FEW, 126, 128),
        "learned": Texts(many, FEW, 126, 128),
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_project(folder, tasks)
        prepare(folder, "few", "download_glue", "finetune", "quantize")
        prepare(folder, "few_of_128", "download_glue")
        for name, stage, few, allowed, rest in (
            ("scored", "download_glue", "few", 1000, []),
            ("long", "download_glue", "few", 1000, []),
            ("half_as_long", "download_glue", "few", 1000, []),
            ("learned", "download_glue", "few", 1000, []),
            ("scored", "evaluate", "few", 1000, [f"{SEED}", "fp32"]),
            ("half_as_long", "evaluate", "few", 1000, [f"{SEED}", "fp32"]),
            ("long", "evaluate", "few", 1000, [f"{SEED}", "fp32"]),
            ("learned", "finetune", "few_of_128", 4000, [f"{SEED}"]),
        ):
            if stage == "evaluate":
                (folder / "models" / name).symlink_to("few")
            began = time.monotonic()
            grown = growth(folder, stage, few, name, *rest)
            texts, seconds = tasks[name], time.monotonic() - began
            counted = {"evaluate": texts.validation}.get(stage, texts.validation + texts.train)
            print(
                f"{stage}: {counted:,} rows of {texts.words:,} words, max_length "
                f"{texts.max_length}: {grown:,} MB more than {FEW} rows take, allowed {allowed:,}; "
                f"{seconds:.0f} s{' (2 steps of training)' if stage == 'finetune' else ''}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
