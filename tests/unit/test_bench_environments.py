"""Peers in environments of their own, made from a package on this disk: no network is used."""

import importlib.util
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from bench import peers
from bench.environments import OF_THE_RACE, Environment, own
from bench.isa import NATIVE, Isa
from bench.prepare import prepare

HERE = Isa(NATIVE, simulated=False)


def wheel(folder: Path, name: str, version: str = "1") -> str:
    """A requirement: one module of this name, which says its version."""
    file = folder / f"{name}-{version}-py3-none-any.whl"
    facts = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = '{version}'\n")
        archive.writestr(
            f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{facts}/RECORD", "")
    return f"{name} @ {file.as_uri()}"


def said_in(python: Path, code: str) -> str:
    return subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="module")
def made(folder: Path) -> Environment:
    return own("one", (wheel(folder, "race_tiny"),), ("race_tiny",), folder)


@pytest.mark.slow
def test_its_packages_are_found_there_and_the_races_behind_them(made: Environment) -> None:
    assert made.lacking == ""
    assert said_in(made.python, "import race_tiny; print(race_tiny.VERSION)") == "1"
    assert importlib.util.find_spec("race_tiny") is None
    theirs = said_in(OF_THE_RACE, "import numpy; print(numpy.__file__)")
    assert said_in(made.python, "import numpy; print(numpy.__file__)") == theirs


@pytest.mark.slow
def test_it_is_kept_until_the_requirements_change(made: Environment, folder: Path) -> None:
    note = folder / "one" / "ready.json"
    stamp = note.stat().st_mtime_ns
    own.cache_clear()
    assert own("one", (wheel(folder, "race_tiny"),), ("race_tiny",), folder) == made
    assert note.stat().st_mtime_ns == stamp
    other = own("one", (wheel(folder, "race_tiny", "2"),), ("race_other",), folder)
    assert said_in(other.python, "import race_tiny; print(race_tiny.VERSION)") == "2"
    assert other.lacking.startswith("race_other cannot be imported: ModuleNotFoundError")
    assert not note.exists()


@pytest.mark.slow
def test_who_cannot_be_installed_is_left_out_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    own.cache_clear()
    peer = peers.get("ctranslate2_int8")
    monkeypatch.setattr(peer, "REQUIREMENTS", ("no-such-package-anywhere==1",), raising=False)
    prepared = prepare("ctranslate2_int8", tmp_path / "none", tmp_path / "built", HERE)
    assert prepared.skipped.startswith("cannot be installed: ")
    assert "no-such-package-anywhere==1" in prepared.skipped
    assert "\n" not in prepared.skipped
    assert not (tmp_path / "built").exists()


def test_processes_of_a_peer_get_its_interpreter_and_its_switches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = peers.get("torch_fp32")
    monkeypatch.setattr(peer, "SWITCHES", {"RACE_SWITCH": "off"}, raising=False)
    assert peers.switches("torch_fp32") == {"RACE_SWITCH": "off"}
    assert peers.environment("torch_fp32").python == OF_THE_RACE
    assert "RACE_SWITCH" not in os.environ


def test_every_peer_notes_its_licence_or_says_that_nobody_did() -> None:
    for name in peers.names():
        assert peers.notes(name)["licence"]
        assert peers.notes(name)["telemetry"]
