"""One layer of int8_fast in torch, from weights of any kind."""

from torch import Tensor

from stages.engines.safe_l.rounding import safe_products
from stages.variants.int8_fast.linear import Activation, FastLinear, Packed


def fast_layer(
    kernel: str,
    weight: Tensor,
    scale: Tensor,
    bias: Tensor,
    products: int | None = None,
    activation: Activation = "none",
) -> FastLinear:
    """Args:
    products: S; None takes the largest that the weights allow.
    """
    chosen = safe_products(weight) if products is None else products
    return FastLinear(Packed.of(weight, scale, bias, chosen), kernel, activation)
