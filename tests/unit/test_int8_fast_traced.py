"""What ships of int8_fast: TorchScript, and the source of its kernel beside it."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import variants
from stages.engines.runtime import compiling
from stages.model.artifact import WEIGHTS
from stages.plumbing.command import UserError
from stages.variants.int8_fast import engine, traced
from stages.variants.int8_fast.kernel.dispatch import choose_kernel
from stages.variants.int8_fast.kernel.operators import HEADERS, SOURCE, command
from stages.variants.int8_fast.linear import LIBRARY
from tests.building import as_if_trained, batch, build, make_ingredients

# Neither this project nor its folder: what whoever gets the export has.
ELSEWHERE = """
import sys
import numpy as np
import torch

import load_kernel

model = torch.jit.load("model.pt")
given = np.load(sys.argv[1])
order = ("input_ids", "token_type_ids", "attention_mask")
np.save(sys.argv[2], model(*[torch.from_numpy(given[name]) for name in order]).detach().numpy())
"""


@pytest.fixture
def artifact(tiny_bert: Path, tmp_path: Path) -> Path:
    source = make_ingredients(as_if_trained(tiny_bert, tmp_path / "model"), tmp_path)
    return build("int8_fast", source, tmp_path / "artifact", torchscript=True)


@pytest.mark.skipif(choose_kernel() == LIBRARY, reason="the kernel cannot run here")
def test_a_process_without_this_project_gets_the_same_answers(
    artifact: Path, tmp_path: Path
) -> None:
    """But for the last function of the head, tanh, and the order of the last sum."""
    folder = tmp_path / "export"
    folder.mkdir()
    assert variants.get("int8_fast").engine.export(artifact, folder) == [WEIGHTS, "model.pt"]
    given, logits = tmp_path / "batch.npz", tmp_path / "logits.npy"
    np.savez(given, **batch(rows=7, length=20))  # type: ignore[arg-type]
    command = [sys.executable, "-c", ELSEWHERE, str(given), str(logits)]
    subprocess.run(command, cwd=folder, check=True)
    expected = variants.get("int8_fast").engine.load(artifact)(batch(rows=7, length=20))
    np.testing.assert_allclose(np.load(logits), expected, atol=1e-5)


def test_where_the_kernel_cannot_run_another_variant_is_named(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "choose_kernel", lambda: LIBRARY)
    with pytest.raises(UserError, match=r"set export\.variant to int8_onnx"):
        variants.get("int8_fast").engine.export(artifact, tmp_path)


def test_the_loader_compiles_as_this_project_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ships alone, so it repeats the flags."""
    monkeypatch.setitem(sys.modules, "compiling", compiling)
    monkeypatch.setattr(torch.ops.int8_fast, "add_norm_", None, raising=False)  # it is loaded
    assert runpy.run_path(str(traced.LOADER))["COMMAND"] == command()


def test_every_header_that_a_source_includes_is_shipped() -> None:
    shipped = {file.name for file in HEADERS}
    for file in (SOURCE, *HEADERS):
        assert set(re.findall(r'#include "(.+)"', file.read_text())) <= shipped
