"""PyTorch's dynamic quantization: int8 Linear weights, activations quantized per batch.

As in PyTorch's tutorial "Dynamic Quantization on BERT": one scale per weight tensor, asymmetric
activations. Embeddings, LayerNorm, softmax and GELU stay in FP32.
"""

from pathlib import Path
from typing import Literal

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    engine: Literal["x86", "fbgemm", "onednn", "qnnpack"] = "x86"


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.torch_dynamic.engine import quantize

    quantize(ingredients.checkpoint, folder, "per_tensor", params.engine)


VARIANT = Variant(Params, build, runs_on="stages.engines.torch_dynamic.engine")
