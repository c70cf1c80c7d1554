"""Build what one peer needs, in a process of its own, so that nothing of it stays in the race's."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

from bench import peers
from bench.environments import OF_THE_RACE
from bench.isa import Isa, NotHidden, choose, hide_from
from stages.model.ingredients import Skipped
from stages.plumbing.command import UserError
from stages.plumbing.files import new_folder, sha256, write_json
from stages.plumbing.json_file import read_json

NOTE = "prepared.json"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Prepared:
    """Attributes:
    skipped: why this peer does not run here; empty where it does.
    size_mb: of the files with weights, 1 MB = 1e6 bytes.
    python: the interpreter of its processes.
    """

    name: str
    folder: Path
    skipped: str = ""
    size_mb: float = 0.0
    python: Path = OF_THE_RACE


def prepare(name: str, checkpoint: Path, folder: Path, isa: Isa) -> Prepared:
    """Build `name` into `folder`, unless it lies there already, made by the same code."""
    environment = peers.environment(name)
    if environment.lacking:
        return Prepared(name, folder, environment.lacking)
    key = key_of(name, checkpoint, isa)
    note = folder / NOTE
    if not note.exists() or read_json(note)["key"] != key:
        command = [str(environment.python), "-m", "bench.prepare", name, str(checkpoint)]
        log = folder.with_name(f"{folder.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            done = subprocess.run(
                [*command, str(folder), isa.name, key],
                env=os.environ | isa.environment | peers.switches(name),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            last = log.read_text().strip().splitlines()[-1:] or ["no message"]
            return Prepared(name, folder, f"could not be built: {last[0][:200]} (see {log})")
    facts = read_json(note)
    return Prepared(name, folder, facts["skipped"], facts["size_mb"], environment.python)


def key_of(name: str, checkpoint: Path, isa: Isa) -> str:
    """Of everything that decides what is built."""
    digest = hashlib.sha256(f"{name} {isa}".encode())
    sources = [*HERE.parent.glob("stages/**/*"), *HERE.glob("peers/*"), *HERE.glob("onnx_bert/*")]
    sources += [HERE / name for name in ("onnx_export.py", "ours.py", "inductor.py")]
    for path in sorted(sources):
        if path.suffix in (".py", ".cpp", ".h"):
            digest.update(path.read_bytes())
    digest.update(Path("params.yaml").read_bytes())
    for path in sorted(checkpoint.iterdir()):
        digest.update(sha256(path).encode())
    for package in ("torch", "transformers", "onnxruntime", *peers.get(name).REQUIRES):
        digest.update(installed(package).encode())
    return digest.hexdigest()


def installed(module: str) -> str:
    return " ".join(version(one) for one in packages_distributions().get(module, []))


def build(name: str, checkpoint: str, folder: str, isa: str, key: str) -> None:
    """The child."""
    peer = peers.get(name)
    facts: dict[str, Any] = {"key": key, "skipped": "", "size_mb": 0.0}
    with new_folder(Path(folder)) as partial:
        try:
            hide_from(peer.LIBRARY)
            files = peer.prepare(Path(checkpoint), partial, choose(isa))
            facts["size_mb"] = sum((partial / file).stat().st_size for file in files) / 1e6
        except (Skipped, NotHidden) as reason:
            facts["skipped"] = str(reason)
        write_json(partial / NOTE, facts)


if __name__ == "__main__":
    try:
        build(*sys.argv[1:])
    except UserError as error:
        sys.exit(" ".join(str(error).split()))
    except Exception as error:
        import traceback

        traceback.print_exc()
        sys.exit(json.dumps(f"{type(error).__name__}: {error}"))
