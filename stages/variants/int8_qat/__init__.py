"""Quantization-aware training, then real int8: the model learns with its own rounding errors.

As in Q8BERT, by swapping modules (fake_quant.py); starts from the fine-tuned model. Runs as
int8_static does, with the ranges that training found. By default it learns fp32's logits on the
training texts and not, as Q8BERT does, their labels, which the fine-tuned model knows by heart: the
small model is to give fp32's answers.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from stages.variants import Ingredients, Variant, VariantParams


class Params(VariantParams):
    max_distance_from_fp32: float = Field(default=2, gt=0)  # it may learn to answer otherwise
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows
    decay: float = Field(0.99, gt=0, lt=1)  # of the moving average of activation ranges
    target: Literal["fp32_logits", "labels"] = "fp32_logits"
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(5e-6, gt=0)
    epochs: float = Field(1, gt=0)
    max_steps: int = 80  # more drifts away from fp32 on unseen texts; -1 does all epochs
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)


def calibrate(ingredients: Ingredients, params: Params) -> None:
    from stages.variants.int8_qat.training import train_with_rounding

    train_with_rounding(ingredients, params, params.target, params.bits, params.decay)


def build(ingredients: Ingredients, folder: Path, params: Params) -> None:
    from stages.variants.int8_qat.training import quantize_as_trained

    quantize_as_trained(ingredients, folder, params.bits)


VARIANT = Variant(Params, build, "stages.engines.int8.engine", calibrate)
