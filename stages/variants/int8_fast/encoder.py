"""An int8_fast model in torch: for TorchScript, and for CPUs that our kernel is not for.

What runs elsewhere is the same in C++ (kernel/classify.cpp). No work that changes no answer:

- A batch's rows lie one after the other without their padding, so no layer sees padding and no
  attention needs a mask.
- Query, key and value are one layer, so their input is quantized once.
- After the last layer's keys and values only the first token matters to a classifier: its query,
  its feed-forward, its head.
- Embeddings stay int8 in memory; looked-up rows are multiplied out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from stages.engines.runtime import packed_file
from stages.engines.runtime.packed_file import (
    ACTIVATIONS,
    DENSE,
    EMBEDDINGS_NORM,
    HEAD_ACTIVATIONS,
    PANEL,
    POSITIONS,
    PROJECTION,
    TYPES,
    WORDS,
    Sizes,
    round_up,
)
from stages.model.tokens import Batch, unpadded
from stages.variants.int8_fast.linear import LIBRARY, Activation, FastLinear, Packed
from stages.variants.int8_fast.tensors import (
    BY_DISTANCE,
    EPSILON,
    FORMAT,
    HEAD_PRODUCTS,
    LAYER_SCALARS,
    PROJECTION_PRODUCTS,
)


class Norm(NamedTuple):
    weight: Tensor
    bias: Tensor
    eps: float
    kernel: str

    def __call__(self, x: Tensor, other: Tensor) -> Tensor:
        """Of their sum; x may be overwritten."""
        if self.kernel != LIBRARY:
            torch.ops.int8_fast.add_norm_(x, other, self.weight, self.bias, self.eps)
            return x
        return layer_norm(x + other, self.weight.shape, self.weight, self.bias, self.eps)


class Layer(NamedTuple):
    """`query` is apart in the last layer only, where `qkv` holds keys and values alone."""

    qkv: FastLinear
    query: FastLinear | None
    attention_out: FastLinear
    after_attention: Norm
    ffn_in: FastLinear
    ffn_out: FastLinear
    after_ffn: Norm


class FastClassifier:
    """Callable: a padded batch -> float32 logits (batch, outputs)."""

    def __init__(
        self,
        sizes: Sizes,
        tensors: Mapping[str, np.ndarray],
        kernel: str,
        first_token_only: bool = True,
    ) -> None:
        """Args:
        kernel: instruction set of the operators in kernel.cpp, which must be loaded, or LIBRARY.
        first_token_only: in the last layer, behind keys and values; False shows what that saves.
        """
        self.sizes, self.kernel, self.first_token_only = sizes, kernel, first_token_only
        self.stride = round_up(sizes.hidden, PANEL)
        # They are mapped and only read.
        self.tensors = {name: torch.from_numpy(np.array(of)) for name, of in tensors.items()}
        self.eps = float(self.tensors["model"][EPSILON].view(torch.float32))
        self.words = self.table(WORDS)
        self.positions = multiplied(*self.table(POSITIONS))
        self.types = multiplied(*self.table(TYPES)) if sizes.types else None
        self.after_embeddings = self.norm(EMBEDDINGS_NORM)
        self.layers = [self.layer(i) for i in range(sizes.layers)]
        self.projection = (
            self.linear(PROJECTION, int(self.tensors["model"][PROJECTION_PRODUCTS]), sizes.hidden)
            if sizes.embedding
            else None
        )
        self.dense = self.linear(DENSE, int(self.tensors["model"][HEAD_PRODUCTS]), sizes.hidden)
        self.head_activation = getattr(torch.nn.functional, HEAD_ACTIVATIONS[sizes.head_activation])
        self.by_distance = self.tensors.get(BY_DISTANCE)
        self.logits = self.tensors["logits.weight"], self.tensors["logits.bias"]
        self.tensors = {}

    def table(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.weight_scale"]

    def norm(self, name: str) -> Norm:
        gamma, beta = self.tensors[f"{name}.gamma"], self.tensors[f"{name}.beta"]
        return Norm(gamma, beta, self.eps, self.kernel)

    def linear(
        self,
        name: str,
        products: int,
        outputs: int,
        activation: Activation = "none",
        first: int = 0,
    ) -> FastLinear:
        """Args:
        first, outputs: which of the padded outputs are wanted, `first` at the start of a panel.
        """
        _, k = packed_file.linears(self.sizes)[name]
        last = round_up(first + outputs, PANEL)
        parts = ("weight_scale", "weight_sum", "bias")
        channels = torch.stack([self.tensors[f"{name}.{part}"][first:last] for part in parts])
        weight = self.tensors[f"{name}.weight"][first // PANEL : last // PANEL]
        return FastLinear(Packed(weight, channels, outputs, k, products), self.kernel, activation)

    def layer(self, i: int) -> Layer:
        sizes, stride = self.sizes, self.stride
        stored = i * sizes.stored // sizes.layers
        at, scalars = f"layer.{stored}", self.tensors["layers"][stored]
        of_qkv, of_out, of_in, of_ffn_out = scalars[:LAYER_SCALARS].tolist()
        last, qkv = self.first_token_only and i == sizes.layers - 1, f"{at}.qkv"
        first = stride if last else 0
        activation: Activation = "relu" if ACTIVATIONS[sizes.activation] == "relu" else "gelu"
        return Layer(
            self.linear(qkv, of_qkv, 3 * stride - first, first=first),
            self.linear(qkv, of_qkv, sizes.hidden) if last else None,
            self.linear(f"{at}.attention_out", of_out, sizes.hidden),
            self.norm(f"{at}.after_attention"),
            self.linear(f"{at}.ffn_in", of_in, sizes.ffn, activation),
            self.linear(f"{at}.ffn_out", of_ffn_out, sizes.hidden),
            self.norm(f"{at}.after_ffn"),
        )

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> np.ndarray:
        unpadded(batch, "int8_fast")  # which refuses what this cannot read
        logits: np.ndarray = self.logits_of(
            {name: torch.from_numpy(array) for name, array in batch.items()}
        ).numpy()
        return logits

    def logits_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Of a batch that is padded on the right. Can be traced, but for the library's kernel."""
        mask = batch["attention_mask"] != 0
        flat = {name: array[mask] for name, array in batch.items()}
        starts = torch.nn.functional.pad(mask.sum(1).cumsum(0), (1, 0))
        x = self.embed(flat, mask.cumsum(1)[mask] - 1)
        for layer in self.layers:
            x = self.run(layer, x, starts)
        if not self.first_token_only:
            x = x[starts[:-1]]
        x = self.head_activation(self.dense(x))
        # Not a matrix product, whose sums would depend on how many texts there are.
        weight, bias = self.logits
        return (x.unsqueeze(1) * weight).sum(-1).add_(bias)

    def embed(self, flat: dict[str, Tensor], places: Tensor) -> Tensor:
        ids = flat["input_ids"]
        x = multiplied(*(part[ids] for part in self.words))
        if self.types is not None:
            types = flat.get("token_type_ids")
            x += self.types[0] if types is None else self.types[types]
        x = self.after_embeddings(x, self.positions[places + self.sizes.first_position])
        return x if self.projection is None else self.projection(x)

    def run(self, layer: Layer, x: Tensor, starts: Tensor) -> Tensor:
        """Rows of all tokens (tokens, hidden); out of the last layer, of first tokens alone.

        Args:
            starts: (texts + 1,), where in x each text begins, and the end.
        """
        hidden, asked, qkv = self.sizes.hidden, starts, layer.qkv(x)
        *queries, key, value = (part[:, :hidden] for part in qkv.split(self.stride, 1))
        if layer.query is None:
            (query,) = queries
        else:
            x, asked = x[starts[:-1]], torch.ones_like(starts).cumsum(0) - 1
            query = layer.query(x)
        attended = self.attention(query, key, value, asked, starts)
        x = layer.after_attention(layer.attention_out(attended), x)
        return layer.after_ffn(layer.ffn_out(layer.ffn_in(x)), x)

    def attention(
        self, query: Tensor, key: Tensor, value: Tensor, asked: Tensor, told: Tensor
    ) -> Tensor:
        """Of texts one behind the other: (rows, hidden) each -> rows of `query`.

        Args:
            asked, told: (texts + 1,), where each text begins in `query`, and in `key` and `value`.
        """
        heads = self.sizes.heads
        if self.kernel != LIBRARY:
            mixed: Tensor = torch.ops.int8_fast.attention(
                query, key, value, asked, told, heads, self.by_distance
            )
            return mixed
        parts = []
        for text in range(len(told) - 1):
            rows, others = slice(*asked[text : text + 2]), slice(*told[text : text + 2])
            q, k, v = (
                part.unflatten(1, (heads, -1)).transpose(0, 1).unsqueeze(0)
                for part in (query[rows], key[others], value[others])
            )
            added = self.added(q.shape[2], k.shape[2])
            mixed = scaled_dot_product_attention(q, k, v, added)
            parts.append(mixed[0].transpose(0, 1).flatten(1))
        return torch.cat(parts)

    def added(self, asked: int, told: int) -> Tensor | None:
        """To the scores of a text's first `asked` queries: (heads, asked, told), or nothing."""
        if self.by_distance is None:
            return None
        distances = torch.arange(told) - torch.arange(asked)[:, None]
        return self.by_distance[:, distances + self.sizes.positions - 1]


def multiplied(weight: Tensor, scale: Tensor) -> Tensor:
    """Rows of int8 and their scales -> float32."""
    return weight.float().mul_(scale.unsqueeze(-1))


def read(weights: Path, kernel: str, first_token_only: bool = True) -> FastClassifier:
    """Raises UserError where the file is cut off or of another format."""
    return FastClassifier(*packed_file.read(FORMAT, weights), kernel, first_token_only)
