"""Reading the header of a safetensors file: what is stored, without loading it."""

import json
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from stages.model.artifact import WEIGHTS
from stages.plumbing.manifest import REMEDY, Damaged

LENGTH_BYTES = 8  # little-endian, before the header


class Entry(BaseModel):
    """Of one tensor, what is read of it here."""

    data_offsets: tuple[int, int]


HEADER = TypeAdapter(dict[str, Entry])


def tensor_bytes(artifact: Path) -> dict[str, int]:
    """Tensor name -> bytes, from the header of `model.safetensors`.

    Raises:
        Damaged: it has none.
    """
    path = artifact / WEIGHTS
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        text = file.read(min(length, path.stat().st_size))
    try:
        header = dict(json.loads(text))
        header.pop("__metadata__", None)
        entries = HEADER.validate_python(header)
    except (ValueError, TypeError, RecursionError):  # pydantic's and json's are ValueErrors
        raise Damaged(f"{path} has no header of a safetensors file; {REMEDY}") from None
    return {
        name: end - start for name, entry in entries.items() for start, end in (entry.data_offsets,)
    }
