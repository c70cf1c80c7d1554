"""int8_embeddings, multiplied by a kernel of our own and without the work that padding makes.

Weights get as many levels per channel as let a CPU without VNNI add up S products in 16 bits,
which no input can overflow (safe-L, see stages/models/fast/). The artifact is the same for every
CPU; what multiplies is chosen when it is loaded.
"""

from pathlib import Path

from pydantic import Field

from stages.models.artifact import WEIGHTS
from stages.models.storage import tensor_bytes
from stages.models.tokens import Predict
from stages.plumbing.files import read_json
from stages.plumbing.section import Section
from stages.variants import Skipped, Source

__all__ = ["Params", "build", "count_quantized", "export", "kernel", "load", "tensor_bytes"]


class Params(Section):
    # Of each layer, by its root mean square: the largest S that stays below it is taken.
    max_weight_error: float = Field(0.03, ge=0, lt=1)


def build(source: Source, folder: Path, params: Section) -> None:
    from torch import Tensor

    from stages.models import int8
    from stages.models.classifier import load_checkpoint
    from stages.models.fast.families import FAMILIES
    from stages.models.fast.linear import PER_TOKEN
    from stages.models.fast.packing import quantize

    assert isinstance(params, Params)
    kind = read_json(source.checkpoint / "config.json")["model_type"]
    if kind not in FAMILIES:
        raise Skipped(
            f"int8_fast knows {', '.join(FAMILIES)}, not {kind}; int8_embeddings runs every model"
        )
    module, logits = load_checkpoint(source.checkpoint), FAMILIES[kind].head[-1][0]

    def safe(name: str, weight: Tensor) -> tuple[Tensor, Tensor]:
        found = quantize(name, weight, params.max_weight_error)
        return found.weight, found.scale

    int8.quantize_layers(
        module, PER_TOKEN, embeddings=True, keep=frozenset([logits]), round_weight=safe
    )
    int8.save(module, folder / WEIGHTS)


def load(artifact: Path) -> Predict:
    from stages.models.fast.encoder import load as load_fast

    return load_fast(artifact)


def export(artifact: Path, folder: Path) -> list[str]:
    from stages.models.fast.traced import export as export_traced

    return export_traced(artifact, folder)


def kernel() -> str:
    """What multiplies on this machine: `avx2`, `vnni` or `library`."""
    from stages.models.fast.dispatch import choose

    return choose()


def count_quantized(artifact: Path) -> int:
    from stages.models.int8_artifact import count_quantized as count

    return count(artifact)
