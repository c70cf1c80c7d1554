"""Environments of their own for peers whose packages must not touch those of the race.

A peer with `REQUIREMENTS` gets `.bench/environments/<peer>/`, made by pip when it is first raced.
The race's own packages lie behind its own, so that only what differs is installed: a library at
another version hides the race's there, and nowhere else.
"""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

FOLDER = Path(".bench") / "environments"
NOTE = "ready.json"
BEHIND = "packages_of_the_race.pth"
OF_THE_RACE = Path(sys.executable)


@dataclass(frozen=True)
class Environment:
    """Attributes:
    python: the interpreter; of the race where a peer has none of its own.
    lacking: why it cannot be used, one line; empty where it can.
    """

    python: Path
    lacking: str = ""


@functools.cache  # what failed once is not tried again for the next model
def own(
    name: str,
    requirements: tuple[str, ...],
    modules: tuple[str, ...],
    folder: Path = FOLDER,
) -> Environment:
    """The environment of the peer `name`, made unless one of the same requirements lies there.

    Args:
        requirements: as pip takes them, each pinned.
        modules: that must be found in it, by the names that `import` takes.
    """
    home = (folder / name).absolute()
    python = home / "bin" / "python"
    note, key = home / NOTE, key_of(requirements)
    if note.exists() and read_json(note)["key"] == key:
        return Environment(python)
    print(f"  {name}: making {folder / name} with {' '.join(requirements)}", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    venv.create(home, symlinks=True)
    places = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    packages = home / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / BEHIND).write_text("".join(f"{place}\n" for place in places))
    log = folder / f"{name}.log"
    installed = run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", *requirements], log
    )
    if installed:
        return Environment(python, f"cannot be installed: {installed} (see {log})")
    for module in modules:
        if failed := run([str(python), "-c", f"import {module}"], log):
            return Environment(python, f"{module} cannot be imported: {failed} (see {log})")
    write_json(note, {"key": key, "requirements": list(requirements)})
    return Environment(python)


def key_of(requirements: tuple[str, ...]) -> str:
    """Of all that decides what is installed: the race's packages too, which pip finds there."""
    beneath = sorted({f"{one.name}=={one.version}" for one in distributions()})
    facts = [sys.version, sys.prefix, *requirements, *beneath]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def run(command: list[str], log: Path) -> str:
    """What went wrong, one line; empty where nothing did. All that it printed is in `log`."""
    with log.open("a") as output:
        done = subprocess.run(
            command,
            env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if not done.returncode:
        return ""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines or ["no message"]
    return errors[-1].removeprefix("ERROR: ")[:200]
