"""How large each tensor of the fp32 model gets on training rows: where fixed scales come from."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stages.engines.ibert.reference import STEPS
from stages.engines.int8.quantizers import TINY
from stages.model.classifier import check_finite
from stages.model.tokens import Batch

# Names of what is looked at, each followed by the name of a module.
INPUT, OUTPUT, SUM = "input", "output", "sum"


class Largest(dict[str, float]):
    """Name -> the largest magnitude seen.

    `input <norm>` and `output <norm or linear>` are of the tensors themselves; `sum <linear>` is of
    what comes before the bias, in units of one activation step times one weight step: how large the
    accumulator of its integers will get, within rounding.
    """

    def see(self, name: str, x: Tensor) -> None:
        check_finite(name, x)
        self[name] = max(self.get(name, 0.0), float(x.abs().max()))


def largest_of(
    module: nn.Module,
    sorted_batches: Iterable[tuple[np.ndarray, Batch]],
    weight_scales: dict[str, Tensor],
) -> Largest:
    """Run the rows through `module`; positions that are padding are left out.

    Args:
        weight_scales: of each Linear to look at, float32 (n,).
    """
    seen, mask = Largest(), torch.zeros(())

    def real(x: Tensor) -> Tensor:
        # By dimensions: behind the pooler (texts, hidden) may well be as large as the mask.
        return x[mask] if x.dim() == 3 else x

    def look(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            x, y = real(inputs[0]), real(output)
            seen.see(f"{OUTPUT} {name}", y)
            if isinstance(layer, nn.LayerNorm):
                seen.see(f"{INPUT} {name}", x)
                return
            if isinstance(layer.bias, Tensor):
                y = y - layer.bias
            step = (x.amax(1).clamp(min=0) - x.amin(1).clamp(max=0)) / STEPS
            seen.see(f"{SUM} {name}", y / (step.clamp(min=TINY)[:, None] * weight_scales[name]))

        return hook

    hooks = [
        layer.register_forward_hook(look(name))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.LayerNorm) or name in weight_scales
    ]
    with torch.inference_mode():
        for _, batch in sorted_batches:
            inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
            mask = inputs["attention_mask"].bool()
            module(**inputs)
    for hook in hooks:
        hook.remove()
    return seen
