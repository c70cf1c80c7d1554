"""I-BERT in the paper's own formats after quantization-aware training, as the paper does it.

`ibert_paper`, then trained on with the rounding in each forward pass, gradients straight through
it, towards the labels. A reference and no product, a simulation in float32 like that one.
"""

from pathlib import Path

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
from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    max_distance_from_fp32: float = Field(default=2, gt=0)  # it may learn to answer otherwise
    rows: Rows = 256  # of train, for the ranges that training starts from
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 1e-6  # as in the README of the authors' repository
    epochs: Epochs = Field(1, gt=0)
    max_steps: Steps = 80  # as in int8_qat; -1 does all epochs
    warmup_ratio: WarmupRatio = 0.1
    weight_decay: WeightDecay = 0.01


def calibrate(ingredients: Ingredients, params: Params) -> None:
    from stages.variants.ibert_paper_qat.training import train_simulation

    train_simulation(ingredients, params, params.rows)


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.variants.ibert_paper_qat.training import write_as_trained

    write_as_trained(ingredients, folder)


VARIANT = Variant(Params, build, "stages.engines.ibert_simulation.engine", calibrate, ships=False)
