"""Writing an int8_fast model out as TorchScript, with the source of its operators beside it."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.engines.runtime import compiling
from stages.engines.runtime.shipped.classify import CannotRun
from stages.model.classifier import example, write_traced
from stages.plumbing.command import UserError
from stages.variants.int8_fast import encoder
from stages.variants.int8_fast.kernel import operators

LOADER = operators.SOURCE.with_name("load_kernel.py")


class Named(nn.Module):
    """Positional tensors in, logits out."""

    def __init__(self, classifier: encoder.FastClassifier, inputs: list[str]) -> None:
        super().__init__()
        self.classifier, self.inputs = classifier, inputs

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.classifier.logits_of(dict(zip(self.inputs, tensors, strict=True)))


def write_torchscript(weights: Path, inputs: list[str], kernel: str, folder: Path) -> str:
    """Write model.pt and what compiles its operators; it runs on any x86 CPU with AVX2.

    Returns:
        Its name.

    Raises:
        UserError: the operators do not compile here.
    """
    try:
        operators.load()
    except CannotRun as reason:
        raise UserError(
            f"TorchScript cannot be written: {reason}; set quantize.int8_fast.torchscript to false"
        ) from None
    module, target = Named(encoder.read(weights, kernel), inputs), folder / "model.pt"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is deprecated
        traced: Any = torch.jit.trace(module.eval(), example(inputs))
    write_traced(traced, target)
    for file in (LOADER, Path(compiling.__file__), operators.SOURCE, *operators.HEADERS):
        shutil.copyfile(file, folder / file.name)
    return target.name
