"""The reference: the fine-tuned model as it is, in 32-bit floating point."""

import shutil
from collections.abc import Callable
from pathlib import Path

from stages.model.artifact import WEIGHTS, read_manifest
from stages.model.storage import tensor_bytes
from stages.model.tokens import Predict
from stages.variants import Ingredients, Variant, VariantParams

__all__ = ["VARIANT", "count_quantized", "export", "load", "tensor_bytes"]


class Params(VariantParams):
    pass


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    shutil.copyfile(ingredients.checkpoint / WEIGHTS, folder / WEIGHTS)


def load(artifact: Path) -> Predict:
    from stages.model.classifier import load_checkpoint, predictor

    return predictor(load_checkpoint(artifact))


def count_quantized(artifact: Path) -> int:
    return 0


def export(artifact: Path, folder: Path) -> list[str]:
    from stages.model.classifier import load_checkpoint, write_onnx, write_torchscript, written

    inputs = read_manifest(artifact).recipe.inputs
    forms: dict[str, Callable[[Path], None]] = {
        "model.pt": lambda target: write_torchscript(load_checkpoint(artifact), inputs, target),
        "model.onnx": lambda target: write_onnx(load_checkpoint(artifact), inputs, target),
    }
    return written(forms, folder)


VARIANT = Variant(Params, build, runs_on=__name__)
