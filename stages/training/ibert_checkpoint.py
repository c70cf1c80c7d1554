"""Checkpoints of transformers' IBert, read as the RoBERTa that they are in floating point.

IBert is RoBERTa with other layers inside, which can simulate I-BERT's integers; a checkpoint
stores the simulation's state (ranges, rounded weights) beside the float weights. The pipeline finds
its own ranges and rounds for itself, so it takes the weights and leaves the rest.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.plumbing.command import UserError
from stages.training.model_names import Pretrained

if TYPE_CHECKING:
    from torch import Tensor

MODEL_TYPE = "ibert"
# For `from_pretrained`: the checkpoint's names of weights -> RoBERTa's.
KEY_MAPPING = {r"^ibert\.": "roberta."}
WEIGHTS = (".weight", ".bias")
# In config.json of IBert alone, or facts of the file rather than the network.
NOT_ROBERTAS = ("model_type", "architectures", "quant_mode", "force_dequant", "dtype")
START = 1.1e-5  # each range starts at -1e-5 to 1e-5; transformers compares with this, too


def as_roberta(model: Pretrained, config: Any) -> Any:
    """The RobertaConfig of an IBertConfig; prints what is to be said of the checkpoint.

    Raises:
        UserError: config.json asks for integer parameters.
    """
    from transformers import RobertaConfig

    if config.dtype is not None and not config.dtype.is_floating_point:
        raise UserError(
            f"the I-BERT checkpoint '{model.name}' has dtype {str(config.dtype).split('.')[-1]} in "
            "its config.json, which casts parameters instead of quantizing them; take the dtype "
            "out if its weights are in floating point, else give the one that they were cast from"
        )
    if model.weights == "pretrained":
        print(*remarks(model.name, Path(model.location), config.quant_mode), sep="\n")
    settings = {key: v for key, v in config.to_dict().items() if key not in NOT_ROBERTAS}
    return RobertaConfig(**settings)


def remarks(name: str, folder: Path, quant_mode: bool) -> list[str]:
    """What is to be said of a checkpoint's stored simulation, a line each.

    Args:
        quant_mode: of its config.json.
    """
    state = stored(folder)
    ignored = [key for key in state if not key.endswith(WEIGHTS)]
    lines = [
        f"the checkpoint '{name}' is an I-BERT: its float weights are read as a RoBERTa's, the "
        f"{len(ignored)} tensors of its simulation (ranges, rounded weights) are ignored"
    ]
    if quant_mode and not ranges_moved(state):
        lines.append(
            f"the checkpoint '{name}' has quant_mode true, but its activation ranges never moved "
            "from 1e-5: transformers clips every activation to nothing; here ranges are found anew"
        )
    if found := state_of_integers(state):
        lines.append(
            f"the checkpoint '{name}' has {found} weight_integer: transformers makes them anew "
            "from the weights in each forward pass, so they mean nothing"
        )
    return lines


def stored(folder: Path) -> dict[str, "Tensor"]:
    """All tensors of a checkpoint, in one file or several, of either format."""
    import torch
    from safetensors.torch import load_file

    state: dict[str, Tensor] = {}
    files = sorted(folder.glob("model*.safetensors"))
    for file in files:
        state |= load_file(file)
    for file in [] if files else sorted(folder.glob("pytorch_model*.bin")):
        state |= torch.load(file, map_location="cpu", weights_only=True)
    return state


def ranges_moved(state: dict[str, "Tensor"]) -> bool:
    ends = [value for key, value in state.items() if key.endswith((".x_min", ".x_max"))]
    return any(bool((end.abs() > START).any()) for end in ends)


def state_of_integers(state: dict[str, "Tensor"]) -> str:
    """`all-zero` or `stale`; empty where they are what the weights round to, or are not stored."""
    import torch

    names = [key.removesuffix("_integer") for key in state if key.endswith(".weight_integer")]
    if names and not any(bool(state[f"{name}_integer"].any()) for name in names):
        return "all-zero"
    for name in names:
        per_row = name.removesuffix("weight") + "fc_scaling_factor" in state
        if not torch.equal(state[f"{name}_integer"].float(), rounded(state[name], per_row)):
            return "stale"
    return ""


def rounded(weight: "Tensor", per_row: bool) -> "Tensor":
    """The 8-bit integers, in floating point, that IBert makes of a weight of shape (rows, columns).

    Args:
        per_row: a scale for each row, as its Linears have, or one for all, as its tables.
    """
    import torch
    from transformers.models.ibert.quant_modules import (
        SymmetricQuantFunction,
        symmetric_linear_quantization_params,
    )

    weight = weight.float()
    low, high = weight.aminmax(dim=1) if per_row else torch.aminmax(weight.view(1, -1), dim=1)
    scale = symmetric_linear_quantization_params(8, low, high, per_row)
    integers: Tensor = SymmetricQuantFunction.apply(weight, 8, False, scale)
    return integers
