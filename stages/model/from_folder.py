"""The one place where transformers reads a folder: code that lies there is never run.

Where a config.json names code (`auto_map`) and nobody says False, transformers asks on a terminal
whether to run it.
"""

from pathlib import Path
from typing import Any

from stages.plumbing.command import UserError


def from_folder(kind: Any, folder: str | Path, **options: Any) -> Any:
    """`kind.from_pretrained`, of a configuration, tokenizer or model.

    Raises:
        UserError: it cannot be had without that code.
    """
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:
        if "trust_remote_code" not in str(error):
            raise
        raise UserError(
            f"{folder} brings code of its own, which is never run; take a model of a family that "
            "transformers knows by itself"
        ) from None
