"""`ibert` after quantization-aware training: the model learns with the roundings that it will have.

Of its formats only the 7 bits of what is multiplied are rounded in training, gradients straight
through; 16 bits round an order of magnitude finer. By default it learns fp32's logits, as int8_qat.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.variants import OWN_LIBRARY, Ingredients, Variant, VariantParams


class Params(VariantParams):
    max_distance_from_fp32: float = Field(default=2, gt=0)  # it may learn to answer otherwise
    rows: int = Field(256, ge=1)  # of train, for the ranges of what has 16 bits
    max_weight_error: float = Field(0.03, ge=0, lt=1)  # as in int8_fast
    target: Literal["fp32_logits", "labels"] = "fp32_logits"
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(5e-6, gt=0)
    epochs: float = Field(1, gt=0)
    max_steps: int = 80  # as in int8_qat; -1 does all epochs
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)


def calibrate(ingredients: Ingredients, params: Params) -> None:
    from stages.variants.ibert_qat.training import train_with_rounding

    train_with_rounding(ingredients, params, params.target, params.max_weight_error)


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.variants.ibert_qat.training import quantize_as_trained

    quantize_as_trained(ingredients, folder, params.max_weight_error, params.rows)


def kernel() -> str:
    """What multiplies on this machine."""
    from stages.engines.ibert.engine import fastest_kernel

    return fastest_kernel()


VARIANT = Variant(
    Params, build, "stages.engines.ibert.engine", calibrate, kernel, counts=True, needs=OWN_LIBRARY
)
