"""PyTorch's dynamic quantization with one weight scale per output channel.

Otherwise as int8_dynamic: activations are quantized per batch, asymmetric, in 7 bits.
"""

from pathlib import Path
from typing import Literal

from stages.plumbing.section import Section
from stages.variants import Source, Variant


class Params(Section):
    engine: Literal["x86", "fbgemm", "onednn", "qnnpack"] = "x86"


def build(source: Source, folder: Path, params: Params) -> None:
    from stages.engines.torch_dynamic.artifact import quantize

    quantize(source.checkpoint, folder, "per_channel", params.engine)


VARIANT = Variant(Params, build, runs_on="stages.engines.torch_dynamic.artifact")
