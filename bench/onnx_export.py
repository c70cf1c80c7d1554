"""A checkpoint as ONNX, traced by torch: for a library that optimizes the graph by itself."""

import warnings
from pathlib import Path


def export(checkpoint: Path, target: Path) -> None:
    """By tracing, with plain attention: the one form that the fusions know."""
    import torch

    from stages.model.artifact import read_recipe
    from stages.model.classifier import LogitsOnly, example, load_checkpoint

    inputs, module = read_recipe(checkpoint).inputs, load_checkpoint(checkpoint)
    module.set_attn_implementation("eager")  # type: ignore[operator]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that tracing is deprecated
        torch.onnx.export(
            LogitsOnly(module, inputs).eval(),
            example(inputs),
            str(target),
            input_names=inputs,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in inputs},
            opset_version=17,
            dynamo=False,
        )
