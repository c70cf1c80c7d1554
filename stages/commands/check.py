"""`make check`: an already fine-tuned model and a file of labelled texts -> which variant ships.

Writes the settings into params.yaml, where a team can commit them, and runs `dvc repro`.
"""

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages import tasks
from stages.commands.preset import settings_of
from stages.commands.progress import Speed, expected, in_words, left
from stages.commands.repro import need_git, need_no_conflicts, reproduce
from stages.engines.safe_l.families import FAMILIES
from stages.model import cpu
from stages.model.from_folder import from_folder
from stages.plumbing.command import UserError, run_stage
from stages.plumbing.json_file import read_json
from stages.plumbing.names import LONGEST, TAKEN
from stages.reporting.five_lines import five_lines
from stages.settings.params import PARAMS_FILE, load_params
from stages.settings.writing import write_settings
from stages.sources.own_file import columns
from stages.sources.own_file.columns import Columns
from stages.sources.own_file.delimited import Dialect
from stages.sources.own_file.table import Table
from stages.training.label_order import classes_of
from stages.training.model_names import resolve

PRESET, SEED = "check", 42
OF_MINE = "my_"
LOOKED_AT = 16  # texts, to see how fast the model is
DAY = 24 * 60.0
LEAST_MINUTES = 5.0  # what a first look at a small model may take
NEEDS_A_COMPILER = "int8_fast"


def check(
    model: str,
    data: str,
    text: str = "",
    pair: str = "",
    label: str = "",
    labels: str = "",
    budget: str = "",
    minutes: str = "",
    encoding: str = "",
    delimiter: str = "",
    quote: str = "",
) -> None:
    """Say which variant of a fine-tuned model to ship, what it loses and what is gained.

    Args:
        model: a folder or hub id.
        data: CSV, TSV or Parquet with a text and its right label in each row.
        text, pair, label: columns, where what stands in them does not say it.
        labels: the classes in the model's order, `negative,positive`, where it has no names.
        budget: points of the metric that may be lost; 1.
        minutes: for a first answer 5 are enough; more of them time more often.
        encoding, delimiter, quote: of a CSV or TSV that is not UTF-8, has another delimiter than
            its ending says, or other quotes than `"` (`none`: quotes are ordinary characters).

    Raises:
        UserError: something cannot be told, or is not there; nothing is changed then.
    """
    need_git()
    need_no_conflicts()
    need(model, data)
    config = read_json(Path(resolve(model, with_weights=False).location) / "config.json")
    regression = len(classes_of(model)) == 1
    dialect = Dialect(encoding or "utf-8", delimiter, "" if quote == "none" else quote or '"', "")
    dialect.check()
    table, asked = Table(data, "data", dialect), Columns(text, pair, label)
    table.check()
    table, found = described(table, asked, regression)
    name = task_name(table.path.stem)
    settings = settings_of(PRESET)
    if why := without_our_kernel(config["model_type"]):
        print(f"{NEEDS_A_COMPILER} is left out: {why}")
        settings["quantize"].pop(NEEDS_A_COMPILER, None)
    if not cpu.is_x86():
        settings["quantize"]["int8_dynamic"]["engine"] = "qnnpack"  # what torch has elsewhere
    rounds = number("TIME", minutes, LEAST_MINUTES, DAY) / LEAST_MINUTES
    settings["latency"]["rounds"] = max(1, round(rounds))  # each in fresh processes
    settings |= {
        "tasks": [name],
        "csv": {name: file_settings(data, table, found, labels, regression)},
        "finetune": {"seeds": [SEED], name: {"checkpoint": model}},
        "compare": {"max_drop_points": number("BUDGET", budget, 1.0, 100)},
        "export": {"variant": "auto"},
    }
    write_settings(settings, anew=[("csv", name), ("finetune", name)])
    print(f"{PARAMS_FILE} now says so; 'git diff {PARAMS_FILE}' shows it", flush=True)
    look = first_look(model, table, found)
    run(name, expected(load_params(), *look) if look else {})


def need(model: str, data: str) -> None:
    if not model or not data:
        raise UserError(
            "a model and a file are needed: make check MODEL=<folder or hub id> "
            "DATA=<file.csv, .tsv or .parquet>"
        )


def described(table: Table, asked: Columns, regression: bool) -> tuple[Table, Columns]:
    """The columns, and their names where the file has none; says what was taken."""
    if not table.is_parquet and columns.has_no_names(table):
        numbered = tuple(f"column_{i}" for i in range(1, len(table.header()) + 1))
        table = replace(table, columns=numbered)
        found = columns.find(table, asked, regression)
        called = {found.text: "text", found.pair: "text_pair", found.label: "label"}
        names = tuple(called.get(each, each) for each in numbered)
        table = replace(table, columns=names)
        found = Columns("text", "text_pair" if found.pair else "", "label")
        print(
            f"{table.name}: its first row reads like the others, so it is taken for one of them; "
            f"the columns are called {', '.join(names)}"
        )
    else:
        found = columns.find(table, asked, regression)
    texts = " and ".join(f"'{each}'" for each in (found.text, found.pair) if each)
    print(f"{table.name}: the text is {texts}, the label '{found.label}'")
    return table, found


def task_name(stem: str) -> str:
    """Of a file: small letters, digits and underscores, and no task's or folder's of our own."""
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower())[: LONGEST - len(OF_MINE)].strip("_") or "own"
    return f"{OF_MINE}{name}" if name in (*tasks.names(), *TAKEN) else name


def file_settings(
    data: str, table: Table, found: Columns, labels: str, regression: bool
) -> dict[str, Any]:
    """The entry of `csv`."""
    metric = "pearson" if regression else "weighted_f1"
    entry: dict[str, Any] = {"validation": data, "text": found.text, "label": found.label}
    entry |= {"text_pair": found.pair} if found.pair else {}
    entry |= {"columns": list(table.columns)} if table.columns else {}
    written, usual = table.dialect, {"encoding": "utf-8", "delimiter": "", "quote": '"'}
    entry |= {key: value for key in usual if (value := getattr(written, key)) != usual[key]}
    names = [name.strip() for name in labels.split(",") if name.strip()]
    entry |= {"labels": {name: name for name in names}} if names else {}
    return entry | {"metric": metric}


def without_our_kernel(kind: str) -> str:
    if kind not in FAMILIES:
        return f"it does not know {kind} (docs/families.md)"
    if not cpu.has_avx2():
        return "this CPU has no AVX2"
    if shutil.which("c++") is None:
        return "there is no C++ compiler (as in 'apt install g++', or CXX=)"
    return ""


def number(word: str, given: str, otherwise: float, most: float) -> float:
    if not given:
        return otherwise
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise UserError(
            f"{word}={given} is no number from 0 to {most:g}; as in {word}={otherwise:g}"
        )
    return value


def run(name: str, stages: dict[str, float]) -> None:
    """`dvc repro`, with the time that is left; then the verdict.

    Args:
        stages: the seconds that each will take; empty where that is not known.
    """
    began = time.monotonic()
    over: list[str] = []
    if stages:
        total = in_words(sum(stages.values()))
        print(f"check: {total} in all, if the machine stays as it is", flush=True)

    def on_stage(item: str) -> None:
        """Before each: the last one is over."""
        if over and stages:
            remaining = left(stages, over, time.monotonic() - began)
            print(f"check: {in_words(remaining)} left", flush=True)
        over.append(item)

    reproduce(on_stage)
    print(f"\n{five_lines(name, load_params())}")


def first_look(model: str, table: Table, found: Columns) -> tuple[int, Speed] | None:
    """How many rows there are, and how fast fp32 is on a few of them; None if that cannot be told.

    The stages say what is wrong with a model, and mend what can be: this only looks at its pace.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = [name for name in (found.text, found.pair) if name]
    rows = [cells for _, cells in table.rows(texts)]
    few = [rows[i * len(rows) // LOOKED_AT] for i in range(min(LOOKED_AT, len(rows)))]
    location, threads = resolve(model).location, torch.get_num_threads()

    def answer(batch: list[list[str]]) -> None:
        each_text = [list(column) for column in zip(*batch, strict=True)]
        module(**tokenizer(*each_text, padding=True, truncation=True, return_tensors="pt"))

    def seconds(batch_size: int, count: int) -> float:
        torch.set_num_threads(count)
        batches = [few[i : i + batch_size] for i in range(0, len(few), batch_size)]
        answer(batches[0])  # to warm up
        start = time.monotonic()
        for batch in batches:
            answer(batch)
        return (time.monotonic() - start) / len(few)

    try:
        tokenizer = from_folder(AutoTokenizer, location)
        module = from_folder(
            AutoModelForSequenceClassification, location, dtype=torch.float32
        ).eval()
        with torch.inference_mode():
            return len(rows), Speed(seconds(1, 1), seconds(8, threads))
    except Exception:
        return None


if __name__ == "__main__":
    run_stage(check)
