"""A disk that takes no more, whichever library writes: an exception of Python's, and no half file.

A limit on the size of files stands for the disk: it fails at the same place, and needs no mount.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.plumbing.disk import need_room

ROOT = Path(__file__).parents[2]
LIMIT, TOO_MUCH = 100_000, 1_000_000
SCRIPT = f"""
import resource, sys
from pathlib import Path

import numpy as np
import onnx, pyarrow, pyarrow.parquet, safetensors.numpy, safetensors.torch, torch

from stages.model.classifier import write_traced
from stages.plumbing.command import one_line
from stages.plumbing.files import new_file, new_folder
from stages.training.loop import need_room

values = np.random.default_rng(0).integers(0, 256, {TOO_MUCH}, dtype=np.uint8)

class Large(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(values / 256))
    def forward(self, given):
        return given * self.weight

traced = torch.jit.trace(Large(), torch.ones(1))
tensor = onnx.numpy_helper.from_array(values, "values")
graph = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [tensor]))
WRITERS = {{
    "text": lambda file: file.write_text("x" * {TOO_MUCH}),
    "parquet": lambda file: pyarrow.parquet.write_table(
        pyarrow.table({{"values": values}}), file, compression="none"
    ),
    "safetensors": lambda file: safetensors.numpy.save_file({{"values": values}}, file),
    "safetensors_torch": lambda file: safetensors.torch.save_file(
        {{"values": torch.from_numpy(values)}}, file
    ),
    "onnx": lambda file: onnx.save(graph, file),
    "torchscript": lambda file: write_traced(traced, file),
    "checkpoint": lambda file: need_room(file.parent, {TOO_MUCH}),
}}
resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}))
for name, write in WRITERS.items():
    try:
        with one_line(f"stages.{{name}}"), new_folder(Path("out") / name) as folder:
            write(folder / "written")
    except SystemExit as exit:
        print(name, exit.code, flush=True)
"""


@pytest.mark.slow
def test_every_library_that_writes_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    ended = dict(line.split() for line in done.stdout.splitlines())
    assert len(ended) == 7
    assert set(ended.values()) == {"2"}
    lines = done.stderr.splitlines()
    assert len(lines) == len(ended), done.stderr
    for name, line in zip(ended, lines, strict=True):
        assert line.startswith(f"{name}: the disk at /")
        assert "MB free) takes no file of this size (see 'ulimit -f')" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_what_fits_leaves_no_trace_of_the_trial(tmp_path: Path) -> None:
    need_room(tmp_path / "new", 1000)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left|File too large"):
        need_room(tmp_path, 1 << 60)
    assert list(tmp_path.iterdir()) == []
