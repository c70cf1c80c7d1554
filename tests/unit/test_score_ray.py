"""`make score` on Ray: the same bytes as on one machine, also where a worker or the driver dies."""

import importlib.util
import time
from pathlib import Path

import psutil
import pytest

from stages.plumbing.command import UserError
from tests.scoring import corpus, run, scored, started, write_csv

pytestmark = pytest.mark.slow
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray: requirements-ray.txt"
)
ROWS = 6000
RAY = ("--engine", "ray", "--workers", 2, "--block-rows", 32)


@pytest.fixture
def whole(integer_exports: dict[str, Path], tmp_path: Path) -> bytes:
    """What one process of this machine gives."""
    write_csv(tmp_path / "in.csv", corpus(ROWS))
    scored(tmp_path / "in.csv", tmp_path / "here.parquet", integer_exports["cola"], block_rows="32")
    return (tmp_path / "here.parquet").read_bytes()


@needs_ray
def test_two_workers_give_the_same_bytes(
    whole: bytes, integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    done = run(tmp_path / "in.csv", out, "--model", integer_exports["cola"], *RAY)
    assert done.code == 0, done.err
    assert out.read_bytes() == whole


@needs_ray
def test_a_killed_worker_loses_and_repeats_nothing(
    whole: bytes, integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    child = started(tmp_path / "in.csv", out, "--model", integer_exports["cola"], *RAY)
    wait_for_blocks(tmp_path)
    actors = [
        one
        for one in psutil.Process(child.pid).children(recursive=True)
        if one.name().startswith("ray::") and "Actor" in " ".join(one.cmdline())
    ]
    assert actors
    actors[0].kill()
    _, err = child.communicate()
    assert child.returncode == 0, err
    assert out.read_bytes() == whole


@needs_ray
def test_a_killed_driver_goes_on_where_it_was_on_either_engine(
    whole: bytes, integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    asked = (tmp_path / "in.csv", out, "--model", integer_exports["cola"])
    child = started(*asked, *RAY)
    wait_for_blocks(tmp_path)
    child.kill()
    child.communicate()
    assert not out.exists()
    done = run(*asked, "--block-rows", 32)
    assert done.code == 0, done.err
    assert "rows are done already" in done.out
    assert out.read_bytes() == whole


@needs_ray
def test_a_bad_row_is_one_line_of_file_and_row(
    integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text("id,sentence\n1,a\n2,b,c\n")
    done = run(tmp_path / "in.csv", tmp_path / "out", "--model", integer_exports["cola"], *RAY)
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("score: in.csv row 3: 3 cells instead of 2")


def wait_for_blocks(folder: Path) -> None:
    while not list(folder.glob("out.parquet.partial/blocks/*")):
        time.sleep(0.02)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_one_line_says_how_to_get_it(
    integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    write_csv(tmp_path / "in.csv", corpus(3))
    with pytest.raises(UserError, match=r"install -r requirements-ray.txt"):
        scored(tmp_path / "in.csv", tmp_path / "o.parquet", integer_exports["cola"], engine="ray")
