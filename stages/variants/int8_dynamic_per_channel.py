"""PyTorch's dynamic quantization with one weight scale per output channel.

Otherwise as int8_dynamic: activations are quantized per batch, asymmetric, in 7 bits.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stages.models.artifact import WEIGHTS, read_manifest
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict
from stages.plumbing.section import Section
from stages.variants import Source

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Params", "build", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    engine: Literal["x86", "fbgemm", "onednn", "qnnpack"] = "x86"


def build(source: Source, folder: Path, params: Section) -> None:
    from stages.models import torch_dynamic
    from stages.models.classifier import load_checkpoint

    assert isinstance(params, Params)
    torch_dynamic.use_engine(params.engine)
    quantized = torch_dynamic.quantize_linears(load_checkpoint(source.checkpoint), "per_channel")
    torch_dynamic.save(quantized, folder / WEIGHTS)


def module(artifact: Path) -> "nn.Module":
    from stages.models import torch_dynamic
    from stages.models.classifier import without_weights

    torch_dynamic.use_engine(read_manifest(artifact).parameters["engine"])
    return torch_dynamic.load(without_weights(artifact), artifact / WEIGHTS, "per_channel")


def load(artifact: Path) -> Predict:
    from stages.models.classifier import predictor

    return predictor(module(artifact))


def count_quantized(artifact: Path) -> int:
    from stages.models.torch_dynamic import quantized_linears

    return len(quantized_linears(module(artifact)))


def export(artifact: Path, folder: Path) -> list[str]:
    from stages.models.classifier import write_onnx, write_torchscript
    from stages.models.torch_dynamic import with_onnx_linears

    inputs, loaded = read_manifest(artifact).recipe.inputs, module(artifact)
    write_torchscript(loaded, inputs, folder / "model.pt")
    write_onnx(with_onnx_linears(loaded), inputs, folder / "model.onnx")
    return ["model.pt", "model.onnx"]
