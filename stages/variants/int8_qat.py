"""Quantization-aware training, then real int8: the model learns with its own rounding errors.

As in Q8BERT, by swapping modules (stages/models/fake_quant.py); starts from the fine-tuned model.
Runs as int8_static does, with the ranges that training found. By default it learns fp32's logits on
the training texts and not, as Q8BERT does, their labels, which the fine-tuned model knows by heart:
the small model is to give fp32's answers.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stages.models.artifact import WEIGHTS, read_recipe
from stages.models.int8_artifact import count_quantized, export, load, tensor_bytes
from stages.plumbing.section import Section
from stages.variants import Source

__all__ = ["Params", "build", "calibrate", "count_quantized", "export", "load", "tensor_bytes"]


class Params(Section):
    bits: Literal[7, 8] = 8  # of the activations; with 8 the weights get 7, so none overflows
    decay: float = Field(0.99, gt=0, lt=1)  # of the moving average of activation ranges
    target: Literal["fp32_logits", "labels"] = "fp32_logits"
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(5e-6, gt=0)
    epochs: float = Field(1, gt=0)
    max_steps: int = 80  # more drifts away from fp32 on unseen texts; -1 does all epochs
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)


def calibrate(source: Source, folder: Path, params: Section) -> None:
    """Train; write the weights and the range of each layer's input."""
    import pandas as pd
    from safetensors.torch import save_file
    from torch import nn

    from stages.models.calibration import padded
    from stages.models.classifier import load_checkpoint, predictor
    from stages.models.fake_quant import prepare
    from stages.models.tokens import encode, load_tokenizer, predict_all
    from stages.models.training import UNFINISHED, train, with_labels

    assert isinstance(params, Params)
    recipe, rows = read_recipe(source.checkpoint), pd.read_parquet(source.train)
    tokenizer, model = load_tokenizer(source.checkpoint), load_checkpoint(source.checkpoint)
    examples = with_labels(encode(tokenizer, source.task, rows, recipe), rows)
    if params.target == "fp32_logits":
        work = padded(source.task, source.checkpoint, rows)
        logits = predict_all(predictor(model), work, len(rows))
        examples = [
            row | {"labels": wanted} for row, wanted in zip(examples, logits.tolist(), strict=True)
        ]
        config: Any = model.config
        config.problem_type = "regression"  # mean squared error over all logits
        for child in model.modules():
            if isinstance(child, nn.Dropout):
                child.p = 0.0  # the logits to learn were computed without
    prepare(model, params.bits, params.decay)
    unfinished = UNFINISHED / f"{source.task.name}-{recipe.seed}-{Path(__file__).stem}"
    how = f"{params.bits} {params.decay} {params.target}"
    train(model, tokenizer, params, recipe.seed, examples, unfinished, how)
    save_file(model.state_dict(), folder / WEIGHTS)


def build(source: Source, folder: Path, params: Section) -> None:
    from safetensors.torch import load_file

    from stages.models import int8
    from stages.models.classifier import without_weights
    from stages.models.fake_quant import convert

    assert isinstance(params, Params)
    state = load_file(source.calibration / WEIGHTS)
    int8.save(convert(without_weights(folder), state, params.bits), folder / WEIGHTS)
