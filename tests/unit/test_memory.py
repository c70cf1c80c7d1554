"""Many long texts: what stages keep of them is what max_length keeps (python -m tests.memory)."""

import sys
from pathlib import Path

import pytest

from tests.memory import SEED, Texts, growth, make_project, prepare

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# As lists of Python's integers, not cut, their tokens would take 500 MB and more.
FEW, MANY = Texts(100, 100, 200, 16), Texts(20_000, 20_000, 200, 16)
MOST_MB = 150


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on the few rows, and the many ones."""
    folder = tmp_path_factory.mktemp("memory")
    make_project(folder, {"few": FEW, "many": MANY})
    for task in ("few", "many"):
        prepare(folder, task, "download_glue")
    prepare(folder, "few", "finetune", "quantize")
    (folder / "models/many").symlink_to("few")
    return folder


def test_evaluate_keeps_no_text(project: Path) -> None:
    assert growth(project, "evaluate", "few", "many", f"{SEED}", "fp32") < MOST_MB


def test_finetune_keeps_no_text(project: Path) -> None:
    (project / "models/many").unlink()
    assert growth(project, "finetune", "few", "many", f"{SEED}") < MOST_MB
