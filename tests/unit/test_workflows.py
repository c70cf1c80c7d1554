"""GitHub's workflows: valid, safe for forks, and their steps do here what they would do there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
INSTALLS = "make .venv/"
GH = """#!/bin/sh
echo "$*" >> gh.log
if [ "$1" = api ]; then echo 7; else cat comparison/comment.md > posted.md; fi
"""


def workflow(name: str) -> dict[Any, Any]:
    """YAML reads the key `on` as true."""
    read: dict[Any, Any] = yaml.safe_load((FOLDER / name).read_text())
    return read


@pytest.mark.parametrize("name", ["tests.yaml", "comment.yaml", "nightly.yaml"])
def test_it_is_what_github_takes(name: str) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*check, "vendor.github-workflows", FOLDER / name], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_what_a_fork_starts_may_only_read_and_what_may_write_takes_no_code_of_it() -> None:
    tests, comment = workflow("tests.yaml"), workflow("comment.yaml")
    assert set(tests[True]) == {"push", "pull_request"}
    assert tests["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in tests["jobs"].values())
    assert "secrets." not in (FOLDER / "tests.yaml").read_text()
    assert set(comment[True]) == {"workflow_run"}
    steps = [step for job in comment["jobs"].values() for step in job["steps"]]
    assert [step["uses"] for step in steps if "uses" in step] == ["actions/download-artifact@v4"]
    for file in (tests, comment):
        runs = [s.get("run", "") for job in file["jobs"].values() for s in job["steps"]]
        assert not [run for run in runs if "${{" in run], "put it into env: it is code otherwise"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This project as it lies here, after a commit whose shipped model was slower."""
    folder = tmp_path / "clone"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    metric = folder / "metrics/mrpc/ships.json"
    now = metric.read_text()
    metric.write_text(json.dumps(json.loads(now) | {"p90_ms": 1234.5}))
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for before, command in [
        (None, ["init", "-q", "-b", "main"]),
        (None, ["add", "-A"]),
        (None, [*who, "commit", "-q", "-m", "base"]),
        (now, [*who, "commit", "-q", "-a", "-m", "faster"]),
    ]:
        if before:
            metric.write_text(before)
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def run_steps(name: str, job: str, clone: Path, **environment: str) -> str:
    """Each `run:` of a job but those that install, as GitHub runs it; what they said.

    Args:
        environment: what stands in the workflow's `env` as an expression.
    """
    summary = {"GITHUB_STEP_SUMMARY": str(clone / "summary.md")}
    said = ""
    for step in workflow(name)["jobs"][job]["steps"]:
        if "run" not in step or step["run"].startswith(INSTALLS):
            continue
        assert set(step.get("env", {})) <= set(environment)
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
            cwd=clone,
            env=os.environ | summary | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{step['run']}\n{done.stdout}"
        said += done.stdout
    return said


def test_the_comparison_holds_the_changed_figures_the_page_and_two_pictures(clone: Path) -> None:
    run_steps("tests.yaml", "comparison", clone, BASE="HEAD~1")
    comment = (clone / "comparison/comment.md").read_text()
    (changed,) = (line for line in comment.splitlines() if "| p90_ms " in line)
    assert "1234.5" in changed
    assert (clone / "reports/mrpc/compare.md").read_text() in comment
    assert comment.count("```mermaid") == 2
    variants = {path.stem for path in (clone / "metrics/mrpc/compare").iterdir()}
    drop, size = ((clone / f"comparison/mrpc_{name}.svg").read_text() for name in ("drop", "size"))
    for variant in variants:
        assert variant in drop
        assert variant in size
        assert f'"{variant}": [0.' in comment
    assert comment == (clone / "summary.md").read_text()


def test_the_lock_is_looked_through_without_data_and_without_a_run(clone: Path) -> None:
    run_steps("tests.yaml", "lock", clone)
    summary = (clone / "summary.md").read_text()
    assert "python -m stages.environment" in summary
    assert "Stage 'finetune@mrpc-42' didn't change, skipping" in summary
    assert not (clone / "models").exists()


def test_the_comment_goes_to_the_pull_request_that_github_names(clone: Path) -> None:
    (clone / "comparison").mkdir()
    (clone / "comparison/comment.md").write_text("figures\n")
    (clone / "bin").mkdir()
    (clone / "bin/gh").write_text(GH)
    (clone / "bin/gh").chmod(0o755)
    run_steps(
        "comment.yaml",
        "comment",
        clone,
        PATH=f"{clone / 'bin'}:{os.environ['PATH']}",
        GH_REPO="us/quantize",
        HEAD="fork:a$(touch broken_in)",
        RUN="https://github.com/us/quantize/actions/runs/1",
    )
    asked, posted = (clone / "gh.log").read_text().splitlines()
    assert "repos/us/quantize/pulls" in asked
    assert "head=fork:a$(touch broken_in)" in asked
    assert posted.startswith("pr comment 7 --edit-last --create-if-none ")
    assert not (clone / "broken_in").exists()
    assert (
        (clone / "posted.md").read_text().startswith("figures\n\n[pictures as SVG, all files](http")
    )


def test_an_unknown_base_is_one_line(clone: Path) -> None:
    command = [sys.executable, "-m", "stages.commands.pull_request", "nowhere", "comparison"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot compare with 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr
