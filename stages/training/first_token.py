"""Leaving out what a classifier never looks at: the last layer's other tokens.

The head reads the first token. Behind the last attention tokens no longer meet, so that what is
computed there for the others changes neither logits nor gradients, and is most of that layer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# Model type -> its layers, and in a layer the module behind which tokens no longer meet. XLNet,
# which reads its last token, and all that is not listed compute everything.
LAST_MEETING = {
    "bert": ("bert.encoder.layer", "attention"),
    "roberta": ("roberta.encoder.layer", "attention"),
    "distilbert": ("distilbert.transformer.layer", "sa_layer_norm"),
}


@contextmanager
def first_token_only(model: nn.Module) -> Iterator[None]:
    """Within the block a sequence classifier computes only what its logits need, if it can."""
    config: Any = model.config
    if config.model_type not in LAST_MEETING:
        yield
        return
    layers, module = LAST_MEETING[config.model_type]
    last: Any = model.get_submodule(layers)[-1]  # type: ignore[index]
    hook = last.get_submodule(module).register_forward_hook(cut)
    try:
        yield
    finally:
        hook.remove()


def cut(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Hidden states of shape (batch, length, size), alone or first in a tuple, to length 1."""
    if isinstance(output, tuple):
        return (output[0][:, :1], *output[1:])
    return output[:, :1]
