"""`ibert` after quantization-aware training: the model learns with the roundings that it will have.

Of its formats only the 7 bits of what is multiplied are rounded in training, gradients straight
through; 16 bits round an order of magnitude finer. By default it learns fp32's logits, as int8_qat.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.plumbing.section import (
    BatchSize,
    Epochs,
    LearningRate,
    Rows,
    Steps,
    WarmupRatio,
    WeightDecay,
)
from stages.variants import OWN_LIBRARY, Ingredients, Variant, VariantParams


class Params(VariantParams):
    max_distance_from_fp32: float = Field(default=2, gt=0)  # it may learn to answer otherwise
    rows: Rows = 256  # of train, for the ranges of what has 16 bits
    max_weight_error: float = Field(0.03, ge=0, lt=1)  # as in int8_fast
    target: Literal["fp32_logits", "labels"] = "fp32_logits"
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 5e-6
    epochs: Epochs = Field(1, gt=0)
    max_steps: Steps = 80  # as in int8_qat; -1 does all epochs
    warmup_ratio: WarmupRatio = 0.1
    weight_decay: WeightDecay = 0.01


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
