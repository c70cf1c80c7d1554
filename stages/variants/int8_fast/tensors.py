"""The tensors of an int8_fast model and their order in the packed file; view.h reads them."""

from typing import Any

import numpy as np
import torch
from torch import nn

from stages.engines.int8.quantizers import quantize_weight
from stages.engines.runtime import packed_file
from stages.engines.runtime.packed_file import (
    EMBEDDINGS_NORM,
    LINEARS,
    MODEL_SCALARS,
    Entry,
    Format,
    Sizes,
    linears,
    norms,
    packed_weights,
    round_up,
    tables,
)
from stages.engines.safe_l import rounding
from stages.engines.safe_l.families import Family

LAYER_SCALARS = len(LINEARS)  # S of each
# Places in `model` behind the sizes: S of the head, the LayerNorms' epsilon (float32 bits), S
# of what leads from the embeddings to the layers.
HEAD_PRODUCTS, EPSILON, PROJECTION_PRODUCTS = 12, 13, 14
BY_DISTANCE = "added_by_distance"  # to a score; key's place less query's, -(positions - 1) first


def entries(sizes: Sizes) -> list[Entry]:
    """Int8 weights; float32 for what there is one of per row, channel or column."""
    shapes = linears(sizes)
    found = [
        Entry("model", "int32", (MODEL_SCALARS,)),
        Entry("layers", "int32", (round_up(sizes.stored, 4), LAYER_SCALARS)),
        *packed_weights(sizes),
    ]
    for name, (n, _) in shapes.items():
        channels = ("weight_scale", "weight_sum", "bias")
        found += [Entry(f"{name}.{part}", "float32", (n,)) for part in channels]
    for name in norms(sizes):
        columns = ("gamma", "beta")
        size = sizes.embedded if name == EMBEDDINGS_NORM else sizes.hidden
        found += [Entry(f"{name}.{part}", "float32", (size,)) for part in columns]
    found.append(Entry("logits.weight", "float32", (sizes.outputs, sizes.hidden)))
    found.append(Entry("logits.bias", "float32", (sizes.outputs,)))
    if sizes.distances:
        found.append(Entry(BY_DISTANCE, "float32", (sizes.heads, 2 * sizes.positions - 1)))
    rows = tables(sizes)
    found += [Entry(f"{name}.weight_scale", "float32", (n,)) for name, n in rows.items()]
    found += [Entry(f"{name}.weight", "int8", (n, sizes.embedded)) for name, n in rows.items()]
    return found


FORMAT = Format(2, "int8_fast model", entries)


def tensors_of(
    module: nn.Module, family: Family, sizes: Sizes, epsilon: float, max_weight_error: float
) -> dict[str, np.ndarray]:
    """All of `entries`, from an fp32 model.

    Raises:
        UserError: NaN or infinity in the weights.
    """
    modules: dict[str, Any] = dict(module.named_modules())
    found: dict[str, np.ndarray] = {}
    products = {}
    for name, parts in packed_file.checkpoint_linears(family, sizes).items():
        safe = [
            rounding.quantize(part, modules[part].weight.detach(), max_weight_error)
            for part in parts
        ]
        weight = packed_file.padded_rows([one.weight.numpy() for one in safe])
        scale = packed_file.padded_rows([one.scale.numpy() for one in safe])
        bias = [modules[part].bias.detach().numpy() for part in parts]
        sums = weight.sum(1, dtype=np.int32).astype(np.float64) * scale
        # What is safe for some S is safe for every smaller one.
        products[name] = min(one.products for one in safe)
        rounding.check_safe(torch.from_numpy(weight), products[name])
        found |= {
            f"{name}.weight": packed_file.pack(weight),
            f"{name}.weight_scale": scale,
            f"{name}.weight_sum": sums.astype(np.float32),
            f"{name}.bias": packed_file.padded_rows(bias),
        }
    for name, of in packed_file.checkpoint_norms(family, sizes).items():
        found[f"{name}.gamma"] = modules[of].weight.detach().numpy()
        found[f"{name}.beta"] = modules[of].bias.detach().numpy()
    logits = modules[family.head[-1][0]]
    found["logits.weight"] = logits.weight.detach().numpy()
    found["logits.bias"] = logits.bias.detach().numpy()
    if sizes.distances:
        encoder = modules[family.distances.rpartition(".")[0]]
        found[BY_DISTANCE] = by_distance(encoder, sizes.positions)
    for name, of in packed_file.checkpoint_tables(family, sizes).items():
        rows, of_rows = quantize_weight(of, modules[of].weight.detach())
        found[f"{name}.weight"], found[f"{name}.weight_scale"] = rows.numpy(), of_rows.numpy()
    layers = np.zeros((round_up(sizes.stored, 4), LAYER_SCALARS), np.int32)
    for i in range(sizes.stored):
        layers[i] = [products[f"layer.{i}.{part}"] for part in LINEARS]
    bits = int(np.float32(epsilon).view(np.int32))
    more = products[packed_file.DENSE], bits, products.get(packed_file.PROJECTION, 0)
    found["layers"], found["model"] = layers, packed_file.model_scalars(FORMAT, sizes, *more)
    return found


@torch.inference_mode()
def by_distance(encoder: Any, positions: int) -> np.ndarray:
    """What is added to a score: (heads, 2 positions - 1), of key's place less query's."""
    added = encoder.compute_position_bias(torch.zeros(1, positions, 1))[0]
    # The first query's keys lie ahead, the first key's queries behind.
    ahead, behind = added[:, 0, :], added[:, 1:, 0].flip(1)
    return np.ascontiguousarray(torch.cat([behind, ahead], 1).numpy(), np.float32)
