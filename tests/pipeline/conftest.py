"""Real `dvc repro` in throw-away git + DVC repositories, with a tiny BERT and a synthetic MRPC."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

from stages.dataset.verified import CHECKSUM
from stages.plumbing.files import sha256, write_json
from stages.plumbing.json_file import read_json
from stages.plumbing.names import ITEMS
from stages.settings.writing import merge

ROOT = Path(__file__).parents[2]
# Of all kinds one: not quantized, quantized at once, learning from training rows first. More would
# take most of the time and show nothing more here.
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "int8_dynamic": {"engine": "x86"},
    "int8_mixed": {"rows": 32, "calibration_rows": 16, "max_drop_points": 5.0},
}
PROJECT_FILES = ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore", "README.md")
SETTINGS = {
    "finetune": {
        "seeds": [42, 43],
        "mrpc": {"model": "tiny-bert", "max_length": 32, "batch_size": 64, "epochs": 2},
    },
    "evaluate": {"min_other_answers_pct": 0},  # so small a model may well give one answer
    "latency": {"queries": 64, "rounds": 1, "warmup": 1, "threads": [1], "batch_sizes": [1, 2]},
    "compare": {"bootstrap_samples": 200},
    "export": {"variant": "int8_dynamic"},
}
# Who runs it, with what: the name is that of the home too. None of it may be written.
NAME, TOKEN = "jane-of-the-test", "a-token-of-the-test"
IDENTITY = {
    f"GIT_{who}_{what}": "test@example.org"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def of_stage(stage: str, *items: str) -> tuple[str, ...]:
    """The command of one stage, of its task, seed and variant."""
    named = [(f"--{kind}", item) for kind, item in zip(ITEMS, items, strict=False)]
    return ("python", "-m", f"stages.{stage}", *itertools.chain(*named))


class Repo:
    """A git + DVC repository of this project."""

    def __init__(self, folder: Path, mirror: Path) -> None:
        self.folder = folder
        self.environment = os.environ | IDENTITY | {"GLUE_MIRROR": str(mirror)}
        self.environment |= {"DVC_NO_ANALYTICS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def with_environment(self, more: dict[str, str]) -> "Repo":
        """The same folder, for commands that see other variables."""
        other = Repo(self.folder, Path())
        other.environment = self.environment | more
        return other

    def run(self, *command: str, prefix: tuple[str, ...] = ()) -> str:
        result = subprocess.run(
            [*prefix, *command],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout[-4000:]}"
        return result.stdout

    @property
    def cold(self) -> "Repo":
        """The same, but for tests/warm.py: each process imports its libraries by itself."""
        return self.with_environment({"PATH": os.environ["PATH"]})

    def start(self, *command: str, log: bool = False) -> subprocess.Popen[bytes]:
        """In a process group of its own, so that a test can kill all of it."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.cold.environment,
            stdout=subprocess.PIPE if log else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def fails(self, *command: str) -> str:
        """What a command that must fail writes."""
        result = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert result.returncode != 0, result.stdout[-4000:]
        return result.stdout + result.stderr

    def stage(self, stage: str, *arguments: str) -> str:
        """Run one stage without DVC; its task, seed and variant."""
        return self.run(*of_stage(stage, *arguments))

    def add_variant(self, name: str, source: str) -> None:
        """One file and one line."""
        (self.folder / "stages/variants" / f"{name}.py").write_text(source)
        self.set_params({"quantize": {name: {}}})

    def repro(self, *arguments: str, prefix: tuple[str, ...] = ()) -> list[str]:
        """Run `dvc repro`; the stages that it ran."""
        output = self.run("dvc", "repro", *arguments, prefix=prefix)
        return re.findall(r"Running stage '(.+)':", output)

    def copy(self, folder: Path) -> "Repo":
        """All of it, with what git and DVC do not know; `clone` is what a colleague gets."""
        other = Repo(folder, Path())
        other.environment = dict(self.environment)
        shutil.copytree(self.folder, folder, symlinks=True)
        return other

    def clone(self, folder: Path) -> "Repo":
        copy = Repo(folder, Path())
        copy.environment = dict(self.environment)
        self.run("git", "clone", "-q", str(self.folder), str(folder))
        return copy

    def would_run(self) -> set[str]:
        """Stages whose own inputs changed (`dvc status`); what follows from them comes on top.

        Stage code runs first, because only then DVC sees what an edit touches.
        """
        self.repro("code")
        status: dict[str, Any] = json.loads(self.run("dvc", "status", "--json"))
        return set(status)

    def set_params(self, changes: dict[str, Any], **whole: Any) -> None:
        """Merge `changes` into params.yaml; what is in `whole` takes a section's place."""
        path = self.folder / "params.yaml"
        values = yaml.safe_load(path.read_text())
        merge(values, changes)
        values |= whole
        path.write_text(yaml.safe_dump(values, sort_keys=False))

    def note_predictions(self, task: str, seed: int, variant: str) -> None:
        """As if stage evaluate had written the predictions that lie there."""
        file = self.folder / f"reports/{task}/predictions/seed_{seed}/{variant}.csv"
        metrics = self.folder / f"metrics/{task}/accuracy/seed_{seed}/{variant}.json"
        write_json(metrics, read_json(metrics) | {CHECKSUM: sha256(file)})

    def commit(self, branch: str = "") -> None:
        if branch:
            self.run("git", "checkout", "-q", "-b", branch)
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", "a step of the test", "--allow-empty")

    def metric(self, path: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.folder / "metrics" / path).read_text())
        return values

    def contents(self, *outputs: str) -> dict[str, bytes]:
        """Bytes of each output file, but for what rightly differs from run to run.

        ONNX's exporter and the zip of TorchScript number things as they like; whether they hold the
        same model is what stage export checks.
        """
        roots = [self.folder / output for output in outputs]
        found = [path for root in roots for path in (root, *root.rglob("*")) if path.is_file()]
        skipped = (".onnx", ".pt")
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(found)
            if path.suffix not in skipped and path != self.folder / "exports/mrpc/manifest.json"
        }


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of `python` and `dvc` whose libraries are imported already: most of the time."""
    folder = tmp_path_factory.mktemp("warm")
    with subprocess.Popen([sys.executable, "-m", "tests.warm", str(folder)], cwd=ROOT) as server:
        while not (folder / "python").exists():
            assert server.poll() is None, "tests/warm.py ended at once"
            time.sleep(0.05)
        yield folder
        server.kill()


@pytest.fixture(scope="session")
def fresh(
    tmp_path_factory: pytest.TempPathFactory, mirror: Path, tiny_bert: Path, warm: Path
) -> Repo:
    """A checkout in which nothing has run yet."""
    folder = tmp_path_factory.mktemp("fresh") / "project"
    folder.mkdir()
    for name in PROJECT_FILES:
        shutil.copyfile(ROOT / name, folder / name)
    shutil.copytree(
        ROOT / "stages", folder / "stages", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(tiny_bert, folder / "tiny-bert")
    repo = Repo(folder, mirror)
    repo.environment["PATH"] = f"{warm}:{os.environ['PATH']}"
    repo.set_params(SETTINGS, quantize=VARIANTS)
    repo.run("git", "init", "-q", "-b", "main")
    repo.run("dvc", "init", "-q")
    shutil.copyfile(ROOT / ".dvcignore", folder / ".dvcignore")
    shutil.copytree(ROOT / ".dvc/plots", folder / ".dvc/plots")
    repo.commit()
    return repo


SAID = "said.txt"  # beside the finished repository: what its run printed


def cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())


@pytest.fixture(scope="session")
def finished(fresh: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """The same after one full `dvc repro`, committed. Not to be changed by a test: copy it.

    Whichever process of pytest-xdist needs it first makes it; the others wait and share it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    repo = Repo(shared / "finished" / "project", Path())
    repo.environment = fresh.environment
    whole = shared / "finished" / "whole"
    with FileLock(shared / "finished.lock"):
        if not whole.exists():
            shutil.rmtree(whole.parent, ignore_errors=True)
            fresh.copy(repo.folder)
            home = whole.parent / NAME
            home.mkdir()
            person = {"HOME": str(home), "USER": NAME, "LOGNAME": NAME, "HF_TOKEN": TOKEN}
            person["XDG_CACHE_HOME"] = str(cache_home())
            said = repo.with_environment(person).run("dvc", "repro")
            (whole.parent / SAID).write_text(said)
            repo.commit()
            whole.touch()
    return repo


@pytest.fixture
def repo(finished: Repo, tmp_path: Path) -> Repo:
    """A copy of the finished repository, to do with as a test likes."""
    return finished.copy(tmp_path / "project")
