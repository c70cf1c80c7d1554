"""A Python that lacks the requirements, as where .venv was not activated: one line, exit code 2."""

import subprocess
import venv
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, symlinks=True)
    return home / "bin/python"


@pytest.mark.parametrize(
    "module", [*(f"stages.{name}" for name in STAGES), "stages.commands.repro"]
)
def test_it_says_to_activate_the_environment(bare_python: Path, module: str) -> None:
    ran = subprocess.run([bare_python, "-m", module], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"stages: {bare_python} lacks pydantic, torch, transformers: ")
    assert "'source .venv/bin/activate' ('make .venv/ready' builds it)" in line
