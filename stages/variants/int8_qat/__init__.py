"""Quantization-aware training, then real int8: the model learns with its own rounding errors.

As in Q8BERT, by swapping modules (fake_quant.py); starts from the fine-tuned model. Runs as
int8_static does, with the ranges that training found. By default it learns fp32's logits on the
training texts and not, as Q8BERT does, their labels, which the fine-tuned model knows by heart: the
small model is to give fp32's answers.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.plumbing.section import BatchSize, Epochs, LearningRate, Steps, WarmupRatio, WeightDecay
from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    max_distance_from_fp32: float = Field(default=2, gt=0)  # it may learn to answer otherwise
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows
    decay: float = Field(0.99, gt=0, lt=1)  # of the moving average of activation ranges
    target: Literal["fp32_logits", "labels"] = "fp32_logits"
    batch_size: BatchSize = 16
    learning_rate: LearningRate = 5e-6
    epochs: Epochs = Field(1, gt=0)
    max_steps: Steps = 80  # more drifts away from fp32 on unseen texts; -1 does all epochs
    warmup_ratio: WarmupRatio = 0.1
    weight_decay: WeightDecay = 0.01


def calibrate(ingredients: Ingredients, params: Params) -> None:
    from stages.variants.int8_qat.training import train_with_rounding

    train_with_rounding(ingredients, params, params.target, params.bits, params.decay)


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.variants.int8_qat.training import quantize_as_trained

    quantize_as_trained(ingredients, folder, params.bits)


VARIANT = Variant(Params, build, "stages.engines.int8.engine", calibrate)
