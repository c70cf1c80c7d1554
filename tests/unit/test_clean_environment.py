"""A card is followed word for word in an environment that holds what its requirements name.

Torch alone is not installed there, which would take minutes: the one that runs the tests is linked
into the environment, with what it requires and nothing else.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from stages import variants
from stages.model.classifier import load_checkpoint, write_onnx
from stages.running.exported_folder import REQUIREMENTS
from stages.running.shipped.predict import Classifier
from stages.variants.int8_fast.kernel.dispatch import choose_kernel
from stages.variants.int8_fast.linear import LIBRARY as KERNEL_OF_TORCH
from tests.building import INPUTS, build, make_ingredients, ship, ship_traced
from tests.service import listening

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash"),
]

# Kind of model file -> what is installed for it beside what these packages require themselves.
NEEDED = {
    "model.safetensors": ["numpy", "tokenizers"],
    "model.onnx": ["numpy", "tokenizers", "onnxruntime"],
    "model.pt": ["numpy", "tokenizers", "torch"],
}
TEXT = ("A text of yours.", "And its second part.")


@pytest.fixture(params=NEEDED)
def export(request: pytest.FixtureRequest, tiny_bert: Path, tmp_path: Path) -> Path:
    """An export of pairs with one kind of model file."""
    ingredients, target = make_ingredients(tiny_bert, tmp_path), tmp_path / "export"
    if request.param == "model.safetensors":
        if choose_kernel() == KERNEL_OF_TORCH or shutil.which("cc") is None:
            pytest.skip("its kernel cannot run here")
        artifact = build("int8_fast", ingredients, tmp_path / "artifact")
        target.mkdir()
        return ship(artifact, target, variants.get("int8_fast").engine.export(artifact, target))
    artifact = build("fp32", ingredients, tmp_path / "artifact")
    if request.param == "model.pt":
        return ship_traced(artifact, target)
    target.mkdir()
    write_onnx(load_checkpoint(artifact), INPUTS, target / "model.onnx")
    return ship(artifact, target, ["model.onnx"])


@pytest.fixture
def clean(export: Path, tmp_path: Path) -> dict[str, str]:
    """The variables of an environment without any package; its pip is the one of the tests."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin/python"
    pip = folder / "bin/pip"
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {python} "$@"\n')
    pip.chmod(0o755)
    if "torch" in (export / REQUIREMENTS).read_text():
        (site,) = folder.glob("lib/python*/site-packages")
        link("torch", site)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def link(package: str, site: Path) -> None:
    """Show `package` and what it requires, as installed here, to the environment of `site`."""
    try:
        found = distribution(package)
    except PackageNotFoundError:  # another system's or an extra's
        return
    for name in {path.parts[0] for path in found.files or [] if path.parts[0] != ".."}:
        if name != "__pycache__" and not (site / name).exists():
            (site / name).symlink_to(str(found.locate_file(name)))
    for requirement in found.requires or []:
        (required,) = re.findall(r"^[\w.-]+", requirement)
        if required not in NEEDED["model.pt"] and "extra ==" not in requirement:
            link(required, site)


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", card, re.M | re.S)


def test_the_card_holds_in_a_clean_environment(export: Path, clean: dict[str, str]) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=export, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    card = (export / "README.md").read_text()
    install, start, ask = blocks(card, "bash")
    (code,) = blocks(card, "python")
    model = json.loads((export / "manifest.json").read_text())["predict"]["model"]
    pins = (export / REQUIREMENTS).read_text().split()
    assert [pin.partition("==")[0] for pin in pins] == NEEDED[model]
    ((label, probability),) = Classifier(export)([TEXT])

    assert run("bash", "-euc", install).splitlines()[-1] == f"{label}\t{probability:.4f}"
    found, share = run("python", "-c", code).split()
    assert (found, float(share)) == (label, pytest.approx(probability, abs=1e-5))
    seen = "import importlib.util as u; print(u.find_spec('{}'))"
    for absent in ("transformers", "pandas", *(set(NEEDED["model.pt"]) - set(NEEDED[model]))):
        assert run("python", "-c", seen.format(absent)) == "None\n"
    if shutil.which("curl") is None:
        return
    with listening(["bash", "-euc", f"exec {start.replace('8000', '0')}"], export, clean) as port:
        health, answer = run("bash", "-euc", ask.replace("8000", str(port))).split("}", 1)
    assert '"status": "ok"' in health
    assert json.loads(answer) == [
        {"label": label, "probability": pytest.approx(probability, abs=1e-5)}
    ]
