"""JSON between the stages: whatever happened to a file, it is named with what restores it."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from stages.plumbing import paths
from stages.plumbing.command import UserError
from stages.plumbing.json_file import read_as, read_json
from stages.plumbing.paths import stage_of

ROOT = Path(__file__).parents[2]
FILE = Path("metrics/mrpc/latency/fp32.json")
CONFLICT = '{\n<<<<<<< HEAD\n  "p90_ms": 1\n=======\n  "p90_ms": 2\n>>>>>>> theirs\n}\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FILE.parent.mkdir(parents=True)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (CONFLICT.encode(), "line 2 holds a merge conflict: take one side of it"),
        (b'{\n  "p90_ms": 1.', "line 2 is not valid JSON"),
        (b"", "line 1 is not valid JSON"),
        (b"\xef\xbb\xbf{}", "line 1 is not valid JSON (Unexpected UTF-8 BOM"),
        ('{"cpu": "\xe9"}'.encode("latin-1"), "is not UTF-8"),
        ("{}".encode("utf-16"), "is not UTF-8"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a":' * 100_000, "is nested too deeply"),
        (b"[1, 2]", "holds no object"),
        (b"null", "holds no object"),
    ],
)
def test_a_damaged_file_is_named_with_the_stage_that_writes_it(
    content: bytes, expected: str
) -> None:
    FILE.write_bytes(content)
    with pytest.raises(UserError) as refused:
        read_json(FILE)
    assert str(refused.value).startswith(f"{FILE} {expected}")
    assert "dvc repro'" in str(refused.value)


def test_a_missing_file_and_a_missing_key_are_said_too() -> None:
    with pytest.raises(UserError, match=r"fp32\.json is missing; .* stage latency writes it"):
        read_json(FILE)
    FILE.write_text('{"single": {"p50_ms": 1}}')
    with pytest.raises(UserError, match=r"fp32\.json has no 'p90_ms'; .* stage latency writes it"):
        read_json(FILE)["single"]["p90_ms"]


def test_a_file_of_the_users_own_has_no_stage_to_run() -> None:
    Path("config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json line 1 .*; correct it, or get it anew"):
        read_json(Path("config.json"))


class Sized(BaseModel):
    size_mb: float


@pytest.mark.parametrize("content", ['{"size_mb": "large"}', "{}", '{"size_mb": null}'])
def test_a_value_of_another_kind_is_named(content: str) -> None:
    FILE.write_text(content)
    with pytest.raises(UserError, match=r"fp32\.json: 'size_mb': "):
        read_as(Sized, FILE)


def outputs() -> list[tuple[str, str]]:
    """Stage and output, of all in dvc.yaml."""
    found = []
    for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                written = out if isinstance(out, str) else next(iter(out))
                for item in ("task", "seed", "variant"):
                    written = written.replace(f"${{item.{item}}}", f"some_{item}")
                found.append((name, written))
    return found


@pytest.mark.parametrize(("stage", "output"), outputs())
def test_every_output_in_dvc_yaml_is_known_with_its_stage(stage: str, output: str) -> None:
    assert stage_of(Path(output)) == stage
    assert stage_of(Path(output).absolute()) == stage
    assert stage_of(Path(output) / "inside") == stage or Path(output).suffix


@pytest.mark.parametrize(
    "foreign", ["config.json", "/elsewhere/metrics/x.json", "metrics", "docs/x"]
)
def test_other_files_have_no_stage(foreign: str) -> None:
    assert stage_of(Path(foreign)) == ""


def test_what_the_stages_ask_for_is_what_is_known() -> None:
    assert stage_of(paths.artifact("mrpc", 42, "fp32")) == "quantize"
    assert stage_of(paths.checkpoint("mrpc", 42) / "recipe.json") == "finetune"
    assert stage_of(paths.split("mrpc", "train")) == "download_glue"
