"""PyTorch's dynamic quantization to float16: half the weights' bytes, FP32 activations.

The tutorial's other option (`dtype=torch.float16`). FBGEMM widens the weights while it multiplies,
so on most CPUs it is no faster than FP32. torch keeps them as FP32 in its own state dict; here
every matrix is stored in half its bytes, embeddings included.
"""

from pathlib import Path

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    pass


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.engines.torch_dynamic.engine import quantize

    quantize(ingredients.checkpoint, folder, "float16")


VARIANT = Variant(Params, build, runs_on="stages.engines.torch_dynamic.engine")
