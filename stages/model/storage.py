"""Reading the header of a safetensors file: what is stored, without loading it."""

import json
import struct
from pathlib import Path

from stages.model.artifact import WEIGHTS


def tensor_bytes(artifact: Path) -> dict[str, int]:
    """Tensor name -> bytes, from the header of `model.safetensors`."""
    with (artifact / WEIGHTS).open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    spans = {name: entry["data_offsets"] for name, entry in header.items()}
    return {name: end - start for name, (start, end) in spans.items()}
