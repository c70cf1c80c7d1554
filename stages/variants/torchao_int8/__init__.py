"""torchao's dynamic quantization, the announced successor of torch's quantize_dynamic.

One weight scale per output channel, one activation scale per token, both symmetric; embeddings stay
in FP32. Not compiled: as `quantize_` leaves it, which on some CPUs is far slower than FP32.
"""

from pathlib import Path

from pydantic import Field

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    max_s_per_batch: float = Field(20.0, gt=0)  # 8 x 64 tokens; slower ones are of no use


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.variants.torchao_int8.engine import quantize

    quantize(ingredients.checkpoint, folder, params.max_s_per_batch)


VARIANT = Variant(Params, build, runs_on="stages.variants.torchao_int8.engine")
