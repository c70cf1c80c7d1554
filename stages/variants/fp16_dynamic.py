"""PyTorch's dynamic quantization to float16: half the weights' bytes, FP32 activations.

The tutorial's other option (`dtype=torch.float16`). FBGEMM widens the weights while it multiplies,
so on most CPUs it is no faster than FP32. torch keeps them as FP32 in its own state dict; here
every matrix is stored in half its bytes, embeddings included.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.models.artifact import WEIGHTS, read_manifest
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict
from stages.plumbing.section import Section
from stages.variants import Source

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    pass


def build(source: Source, folder: Path, params: Section) -> None:
    from torch.nn import Embedding

    from stages.models import torch_dynamic
    from stages.models.classifier import load_checkpoint

    torch_dynamic.use_engine("fbgemm")
    quantized = torch_dynamic.quantize_linears(load_checkpoint(source.checkpoint), "float16")
    for child in quantized.modules():
        if isinstance(child, Embedding):
            child.half()
    torch_dynamic.save(quantized, folder / WEIGHTS)


def module(artifact: Path) -> "nn.Module":
    from stages.models import torch_dynamic
    from stages.models.classifier import without_weights

    torch_dynamic.use_engine("fbgemm")
    return torch_dynamic.load(without_weights(artifact), artifact / WEIGHTS, "float16")


def load(artifact: Path) -> Predict:
    from stages.models.classifier import predictor

    return predictor(module(artifact))


def count_quantized(artifact: Path) -> int:
    from stages.models.torch_dynamic import quantized_linears

    return len(quantized_linears(module(artifact)))


def export(artifact: Path, folder: Path) -> list[str]:
    from stages.models.classifier import write_onnx, write_torchscript
    from stages.models.torch_dynamic import with_float_linears

    inputs, loaded = read_manifest(artifact).recipe.inputs, module(artifact)
    write_torchscript(loaded, inputs, folder / "model.pt")
    write_onnx(with_float_linears(loaded), inputs, folder / "model.onnx")
    return ["model.pt", "model.onnx"]
