"""Many long texts: what stages keep of them is what max_length keeps (python -m tests.memory)."""

import sys
from contextlib import chdir
from pathlib import Path

import pytest

from stages.download_glue import download_glue
from stages.finetune import finetune
from stages.quantize import quantize
from tests.memory import SEED, Texts, growth, make_project

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FEW, MANY = 100, 6_000
TASKS = {
    "few": Texts(FEW, FEW, 200, 16),
    "scored": Texts(FEW, MANY, 200, 16),
    "learned": Texts(MANY, FEW, 200, 16),
}
# As lists of Python's integers, before they are cut, the tokens of the many take 300 MB and more.
MOST_MB = 120


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a model that was trained on the few."""
    folder = tmp_path_factory.mktemp("memory")
    make_project(folder, TASKS)
    with chdir(folder):
        for task in TASKS:
            download_glue(task)
        finetune("few", f"{SEED}")
        quantize("few", f"{SEED}", "fp32")
    (folder / "models/scored").symlink_to("few")
    return folder


@pytest.mark.parametrize(
    ("stage", "many", "rest"),
    [("evaluate", "scored", [f"{SEED}", "fp32"]), ("finetune", "learned", [f"{SEED}"])],
)
def test_long_texts_take_no_more_than_their_tokens(
    project: Path, stage: str, many: str, rest: list[str]
) -> None:
    assert growth(project, stage, "few", many, *rest) < MOST_MB
