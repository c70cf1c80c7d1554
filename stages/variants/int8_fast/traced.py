"""Writing the fast classifier out as TorchScript, with the source of its kernel beside it."""

import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stages.model.artifact import read_manifest
from stages.model.classifier import example, without_debug_records
from stages.plumbing.command import UserError
from stages.variants.int8_fast import encoder
from stages.variants.int8_fast.kernel.dispatch import HEADERS, SOURCE, choose_kernel

LOADER = SOURCE.with_name("load_kernel.py")


class Named(nn.Module):
    """Positional tensors in, logits out."""

    def __init__(self, classifier: encoder.FastClassifier, inputs: list[str]) -> None:
        super().__init__()
        self.classifier, self.inputs = classifier, inputs

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.classifier.logits_of(dict(zip(self.inputs, tensors, strict=True)))


def export(artifact: Path, folder: Path) -> list[str]:
    """Write model.pt and what compiles its operators; it runs on any x86 CPU with AVX2.

    No ONNX: no runtime has this kernel, and without it int8_onnx is faster.

    Raises:
        UserError: the kernel cannot run here.
    """
    if choose_kernel() == "library":
        raise UserError(
            "int8_fast ships with its own kernel, which cannot run here (see above); set "
            "export.variant to int8_onnx or int8_embeddings"
        )
    inputs = read_manifest(artifact).recipe.inputs
    module, target = Named(encoder.load(artifact), inputs), folder / "model.pt"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is deprecated
        traced: Any = torch.jit.trace(module.eval(), example(inputs))
        torch.jit.save(traced, str(target))
    without_debug_records(target)
    for file in (LOADER, SOURCE, *HEADERS):
        shutil.copyfile(file, folder / file.name)
    return [target.name]
