"""Running the simulation; it does not ship."""

from pathlib import Path

from stages.engines.ibert_simulation import simulation
from stages.model.artifact import read_manifest
from stages.model.classifier import predictor
from stages.model.storage import tensor_bytes
from stages.model.tokens import Predict
from stages.plumbing.command import UserError

__all__ = ["count_quantized", "export", "load", "tensor_bytes"]


def load(artifact: Path) -> Predict:
    return predictor(simulation.restore(artifact))


def count_quantized(artifact: Path) -> int:
    return simulation.count(simulation.restore(artifact))


def export(artifact: Path, folder: Path) -> list[str]:
    """Raises UserError: there is nothing in it to ship."""
    name = read_manifest(artifact).variant
    raise UserError(f"{name} is a reference and does not ship; set export.variant to ibert")
