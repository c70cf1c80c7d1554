"""What a race belongs to, and how another machine's differs."""

from collections.abc import Mapping
from typing import Any

from stages.workspace.machine import describe, installed

# Of the race; what peers have in environments of their own stands beside their licences.
PACKAGES = ("ctranslate2", "mlcommons-loadgen", "onnx", "safetensors")


def environment() -> dict[str, Any]:
    return describe() | {name: installed(name) for name in PACKAGES}


def differences(committed: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """One line for each fact that is not the same in both."""
    names = [*committed, *(name for name in here if name not in committed)]
    return [
        f"{name}: {committed.get(name, 'not recorded')} in the committed race, "
        f"{here.get(name, 'not recorded')} here"
        for name in names
        if committed.get(name) != here.get(name)
    ]
