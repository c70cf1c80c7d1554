"""Building, storing, running and exporting int8_fast."""

from pathlib import Path

from torch import Tensor

from stages.engines.int8 import layers
from stages.engines.int8.engine import count_quantized
from stages.engines.safe_l import rounding
from stages.engines.safe_l.families import FAMILIES
from stages.engines.safe_l.rounding import PER_TOKEN
from stages.model.artifact import WEIGHTS
from stages.model.classifier import load_checkpoint
from stages.model.ingredients import Skipped
from stages.model.storage import tensor_bytes
from stages.plumbing.files import read_json
from stages.variants.int8_fast.encoder import load
from stages.variants.int8_fast.traced import export

__all__ = ["count_quantized", "export", "load", "quantize", "tensor_bytes"]


def quantize(checkpoint: Path, folder: Path, max_weight_error: float) -> None:
    """Write the FP32 model in `checkpoint` with safe-L weights, all but the logits' layer.

    Raises:
        Skipped: its encoder is of another kind than FAMILIES.
        UserError: NaN or infinity in the weights.
    """
    kind = read_json(checkpoint / "config.json")["model_type"]
    if kind not in FAMILIES:
        raise Skipped(
            f"int8_fast knows {', '.join(FAMILIES)}, not {kind}; int8_embeddings runs every model"
        )
    module, logits = load_checkpoint(checkpoint), FAMILIES[kind].head[-1][0]

    def safe(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
        rounded = rounding.quantize(name, weight, max_weight_error)
        return rounded.weight, rounded.scale

    layers.quantize_layers(
        module, PER_TOKEN, embeddings=True, keep=frozenset([logits]), round_weight=safe
    )
    layers.save(module, folder / WEIGHTS)
