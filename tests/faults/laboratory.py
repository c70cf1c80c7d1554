"""A small finished project, built with two sorts of settings, of which each trial gets a copy."""

import importlib
import pkgutil
import random
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

import stages
from stages.settings.writing import merge
from tests import warm
from tests.conftest import write_tiny_bert, write_tutorial_layout
from tests.faults.comparing import Files, Reference, below, read_files, varying
from tests.faults.events import Armed, Plan, read_log
from tests.faults.jobs import PREDICT, ROOT, Job, jobs
from tests.faults.processes import Ended, Place, Process

# So small that a stage takes about a second, most of it reading and writing.
ROWS = {"train": 96, "validation": 48, "test": 24}
LOOSE = {"max_distance_from_fp32": 100, "max_other_answers_pct": 100}
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "int8_dynamic": {"engine": "x86"} | LOOSE,
    "int8_mixed": {"rows": 32, "calibration_rows": 16, "max_drop_points": 5.0} | LOOSE,
    "int8_fast": {"max_weight_error": 0.03} | LOOSE,
}
SETTINGS: dict[str, Any] = {
    "download_glue": {"counts": "any", "sources": ["mirror"]},
    "finetune": {
        "seeds": [42],
        "mrpc": {"model": "tiny-bert", "max_length": 32, "batch_size": 16, "epochs": 2},
    },
    "evaluate": {"min_other_answers_pct": 0},
    "latency": {"queries": 64, "rounds": 1, "warmup": 1, "threads": [1], "batch_sizes": [1]},
    "compare": {"bootstrap_samples": 100},
    "export": {"variant": "int8_fast"},
}
OTHER_SETTINGS: dict[str, Any] = {
    "finetune": {"mrpc": {"learning_rate": 3e-3, "max_length": 24}},
    "compare": {"bootstrap_samples": 120, "confidence": 0.9},
    "export": {"variant": "int8_mixed"},
}
# What libraries and stages import where it is needed first.
INSIDE_OF_FUNCTIONS = (
    "accelerate",
    "multiprocessing.queues",
    "pyarrow.dataset",
    "scipy.stats",
    "sklearn.metrics",
    "tqdm.auto",
    "vl_convert",
)


def import_everything() -> None:
    """All that a stage imports, so that a fork need not."""
    for module in pkgutil.walk_packages(stages.__path__, "stages."):
        if "onnx" in module.name:  # whose runtime starts a thread when it is imported
            continue
        with suppress(ImportError):  # of a library that is not installed here
            importlib.import_module(module.name)
    for name in INSIDE_OF_FUNCTIONS:
        importlib.import_module(name)
    from transformers import (  # noqa: F401
        AutoModelForSequenceClassification,
        AutoTokenizer,
        BertForSequenceClassification,
        BertTokenizerFast,
        DataCollatorWithPadding,
        ProgressCallback,
        Trainer,
    )

    # Its own is shared by all forks, and would stay locked where one is killed that holds it.
    tqdm.set_lock(threading.RLock())


@dataclass
class Laboratory:
    """Attributes:
    folder: all that is made here, and nothing else.
    python: what stands for the interpreter, see warm.py.
    random: of all choices; seeded.
    """

    folder: Path
    python: Path
    random: random.Random
    variants: list[str]

    def __post_init__(self) -> None:
        self.numbers = count(1)
        self.finished, self.other = Place(self.folder / "new"), Place(self.folder / "old")
        for place, rows, more in (
            (self.other, 8, OTHER_SETTINGS),
            (self.finished, 0, {}),
        ):
            self.build(place, rows, more)
        self.new, self.old = read_files(self.finished.project), read_files(self.other.project)

    @property
    def jobs(self) -> list[Job]:
        params = yaml.safe_load((self.finished.project / "params.yaml").read_text())
        return jobs(params)

    def build(self, place: Place, fewer_rows: int, more: dict[str, Any]) -> None:
        """Run all stages once, in a place of their own.

        Args:
            fewer_rows: in each split.
            more: settings, beside SETTINGS.
        """
        for folder in (place.project, place.cache, place.temporary):
            folder.mkdir(parents=True)
        for folder in (self.finished.cache, self.other.cache):  # what is compiled once
            if folder.exists():
                shutil.copytree(folder, place.cache, dirs_exist_ok=True)
        rows = {split: number - fewer_rows for split, number in ROWS.items()}
        write_tutorial_layout(place.project / "mirror/MRPC", rows)
        write_tiny_bert(place.project / "tiny-bert")
        values = yaml.safe_load((ROOT / "params.yaml").read_text())
        merge(values, SETTINGS)
        merge(values, more)
        values["quantize"] = {name: VARIANTS[name] for name in self.variants}
        if values["export"]["variant"] not in self.variants:
            values["export"]["variant"] = self.variants[-1]
        (place.project / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        for job in jobs(values):
            ended = self.run(job, place)
            if ended.code:
                raise failed(job, ended)

    def run(self, job: Job, place: Place, armed: Armed | None = None, **more: str) -> Ended:
        return self.start(job, place, armed, **more).ended()

    def start(self, job: Job, place: Place, armed: Armed | None = None, **more: str) -> Process:
        environment = {"GLUE_MIRROR": "mirror", "PYTHONPATH": str(ROOT)} | more
        return Process(job, place, self.python, armed, environment)

    @contextmanager
    def place(self, job: Job, old: bool = False, state: Files | None = None) -> Iterator[Place]:
        """The finished project before `job` runs: without its outputs, as DVC leaves it.

        Args:
            old: with those of other settings, which DVC would have removed.
            state: or with these files in the project, whatever they are.
        """
        place = Place(self.folder / f"trial-{next(self.numbers)}")
        shutil.copytree(self.finished.cache, place.cache)
        place.temporary.mkdir()
        write_files(place.project, self.before(job, old) if state is None else state)
        try:
            yield place
        finally:
            shutil.rmtree(place.folder, ignore_errors=True)

    def before(self, job: Job, old: bool) -> Files:
        kept = {path: content for path, content in self.new.items() if not job.writes(path)}
        outputs = job.outputs if old else job.stays
        source = self.old if old else self.new
        return kept | {path: each for out in outputs for path, each in below(out, source).items()}

    def reference(self, job: Job) -> Reference:
        """Run it once more undisturbed, see what it does to files and what varies."""
        with self.place(job) as place:
            log, started = place.folder / "events.log", time.monotonic()
            ended = self.run(job, place, Armed(Plan.COUNT, 0, place.folder, str(log)))
            seconds = time.monotonic() - started
            if ended.code:
                raise failed(job, ended)
            run = read_files(place.project)
            events = [
                event.within(place.folder) for event in read_log(log) if ours(event.path, log)
            ]
        vary = varying(self.new, run)
        reference = Reference(job, self.old, self.new, vary, events, ended.stdout, seconds)
        if wrongs := reference.not_as_undisturbed(run):
            raise SystemExit(f"{job.name} differs undisturbed: {wrongs[:3]}")
        return reference

    def references(self) -> list[Reference]:
        references = [self.reference(job) for job in [*self.jobs, PREDICT]]
        for each in references:
            changes = sum(not event.only_read for event in each.events)
            print(f"{each.job.name}: {changes} file events, {each.seconds:.2f} s", flush=True)
        return references


def failed(job: Job, ended: Ended) -> SystemExit:
    state = "hangs" if ended.hung else f"ends with code {ended.code}"
    return SystemExit(f"{job.name} {state} undisturbed:\n{ended.stderr[-4000:]}")


def ours(path: str, log: Path) -> bool:
    """Not of the driver: the log, and what the process prints."""
    return Path(path).parent != log.parent


def write_files(project: Path, files: Files) -> None:
    project.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        target = project / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def opened(folder: Path, seed: int, variants: list[str]) -> Laboratory:
    """Import everything, start what stays warm, build."""
    import_everything()
    return Laboratory(folder, warm.start(folder), random.Random(seed), variants)
