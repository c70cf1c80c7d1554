"""What ships of int8_fast: TorchScript, and the source of its kernel beside it."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import variants
from stages.engines.runtime import compiling
from stages.engines.runtime.shipped.classify import CannotRun
from stages.model.artifact import WEIGHTS
from stages.plumbing.command import UserError
from stages.plumbing.files import write_json
from stages.plumbing.manifest import checksums
from stages.variants.int8_fast import engine, traced
from stages.variants.int8_fast.kernel import operators
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


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What an export has beside its TorchScript, in a process that has loaded our operators."""
    try:
        operators.load()
    except CannotRun as reason:
        pytest.skip(str(reason))
    folder = tmp_path / "export"
    folder.mkdir()
    for file in (traced.LOADER, Path(compiling.__file__), SOURCE, *HEADERS):
        shutil.copy(file, folder)
    shutil.copy(file, folder / "of_the_runtime.h")  # other files may lie there
    monkeypatch.setitem(sys.modules, "compiling", compiling)
    return folder


def loaded(folder: Path) -> dict:
    return runpy.run_path(str(folder / traced.LOADER.name))


def test_the_loader_compiles_as_this_project_does(beside: Path) -> None:
    """It ships alone, so it repeats flags and headers: the same library, compiled once."""
    made = loaded(beside)
    assert made["COMMAND"] == command()
    assert set(made["HEADERS"]) == {file.name for file in HEADERS}
    assert str(operators.build().target()) in torch.ops.loaded_libraries


def test_another_exports_operators_are_not_taken_for_ones_own(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(build: compiling.Build) -> Path:
        assert build.target() != operators.build().target()
        return build.target()

    with (beside / "norm.h").open("a") as file:
        file.write("// another version")
    monkeypatch.setattr(compiling.Build, "made", made)
    with pytest.raises(RuntimeError, match="has loaded the operators of another export"):
        loaded(beside)


@pytest.mark.parametrize("name", ["kernel.cpp", "tiles.h", "compiling.py"])
def test_an_altered_source_is_not_compiled(name: str, beside: Path) -> None:
    write_json(beside / "manifest.json", {"sha256": checksums(beside)})
    loaded(beside)
    with (beside / name).open("a") as file:
        file.write("\n")
    with pytest.raises(RuntimeError, match=f"{name} is not the one that was exported"):
        loaded(beside)


def test_every_header_that_a_source_includes_is_shipped() -> None:
    shipped = {file.name for file in HEADERS}
    for file in (SOURCE, *HEADERS):
        assert set(re.findall(r'#include "(.+)"', file.read_text())) <= shipped
