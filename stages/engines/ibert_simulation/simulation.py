"""A fine-tuned model as transformers' IBert in quant_mode: made, its ranges found, stored.

The formats are those of Kim et al., 2021 (arXiv 2101.01321): symmetric, one fixed range per tensor,
8 bits, also between the layers. All is computed in float32 whose values are integers times a scale.
What goes wrong in transformers 5 and is kept away from here:

- one made with quant_mode on cannot run with it off (IntGELU then lacks its function), so it is
  made with it off and switched;
- the softmax inside has a range that only moves with quant_mode on, and whose unit depends on the
  ranges before it, so that it is found last (`find_ranges`);
- LayerNorm divides by its gains: one that is 0 gives NaN for ever (`without_zero_gains`).
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.models.ibert.quant_modules import (
    IntLayerNorm,
    IntSoftmax,
    QuantAct,
    QuantEmbedding,
    QuantLinear,
)

from stages.engines.int8.calibration import choose_rows, padded
from stages.model.artifact import WEIGHTS
from stages.model.classifier import check_finite, load_checkpoint
from stages.model.from_folder import from_folder
from stages.model.ingredients import Ingredients, Skipped
from stages.model.tokens import Batch
from stages.plumbing.command import UserError
from stages.training.ibert_conversion import ibert_config, refusal, to_ibert

SEED = 0
WIDEN = -1  # as transformers spells it: a range that only grows
FOLLOW = 0.95  # transformers' own: a moving average
TINY_GAIN = 1e-6
# Made anew from weights and ranges in each forward pass, so not worth their bytes.
DERIVED = (
    "weight_integer",
    "bias_integer",
    "fc_scaling_factor",
    "weight_scaling_factor",
    "act_scaling_factor",
)


def calibrated(ingredients: Ingredients, rows: int) -> nn.Module:
    """The simulation of the fine-tuned model, in quant_mode, ranges from `rows` training rows.

    Raises:
        Skipped: IBert has no place for such a model.
        UserError: NaN or infinity in the weights.
    """
    model: Any = load_checkpoint(ingredients.checkpoint)
    if reason := refusal(model.config):
        raise Skipped(f"{reason}; int8_embeddings runs every model")
    for name, value in model.state_dict().items():
        check_finite(name, value)
    simulation = without_zero_gains(to_ibert(model))
    chosen = choose_rows(ingredients.train, rows, SEED)
    sample = padded(ingredients.task, ingredients.checkpoint, chosen)
    find_ranges(simulation, [batch for _, batch in sample])
    return simulation


def without_zero_gains(module: nn.Module) -> nn.Module:
    """Gains of 0, in place, become so small that what they scale stays below any rounding."""
    with torch.no_grad():
        for layer in of_kind(module, IntLayerNorm):
            layer.weight[layer.weight == 0] = TINY_GAIN
    return module


@torch.no_grad()
def find_ranges(module: nn.Module, batches: list[Batch]) -> None:
    """Least and largest value of each activation, in place; leaves quant_mode on, eval mode.

    First in floating point. Then with these ranges in use: what the softmax rounds inside, and how
    far LayerNorm shifts its squares so that they fit 32 bits.
    """
    switch(module, on=False)
    set_momentum(module, WIDEN)
    for on, learning in ((False, (QuantAct,)), (True, (IntSoftmax, IntLayerNorm))):
        switch(module, on=on)
        module.eval()
        for layer in of_kind(module, *learning):
            layer.train()  # ranges move in training mode; dropout stays out of it
        for batch in batches:
            module(**{name: torch.from_numpy(array) for name, array in batch.items()})
    set_momentum(module, FOLLOW)
    module.eval()


def switch(module: nn.Module, on: bool) -> None:
    for layer in of_kind(module, nn.Module):
        if hasattr(layer, "quant_mode"):
            layer.quant_mode = on


def set_momentum(module: nn.Module, momentum: float) -> None:
    """Of the moving average of ranges, in training mode."""
    for layer in of_kind(module, QuantAct):
        layer.act_range_momentum = momentum


def of_kind(module: nn.Module, *kinds: type) -> list[Any]:
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def count(module: nn.Module) -> int:
    """Linears and tables that round their weights; the head's two Linears stay in float."""
    return sum(layer.quant_mode for layer in of_kind(module, QuantLinear, QuantEmbedding))


def introduce(variant: str) -> None:
    """Print what such a variant is."""
    print(f"{variant}: a simulation in floating point: neither small nor fast")


def save(module: nn.Module, file: Path) -> None:
    """Weights and ranges in float32."""
    save_file(lasting(module.state_dict()), file, metadata={"format": "pt"})


def lasting(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith(DERIVED)}


def restore(folder: Path) -> nn.Module:
    """What `save` wrote, in quant_mode; the folder's config.json is that of the BERT or RoBERTa.

    Raises:
        UserError: weights of another architecture.
    """
    from transformers import AutoConfig, IBertForSequenceClassification

    module: nn.Module = IBertForSequenceClassification(
        ibert_config(from_folder(AutoConfig, folder))
    )
    state = load_file(folder / WEIGHTS)
    wanted = lasting(module.state_dict())
    if {k: v.shape for k, v in wanted.items()} != {k: v.shape for k, v in state.items()}:
        raise UserError(f"{folder / WEIGHTS} does not fit its config.json; run 'dvc repro'")
    module.load_state_dict(state, strict=False)
    switch(module, on=True)
    return module.eval()
