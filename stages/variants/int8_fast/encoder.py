"""A BERT-type classifier in int8, around FastLinear, doing no work that changes no answer.

- A batch's rows lie one after the other without their padding, so no layer sees padding and no
  attention needs a mask.
- Query, key and value are one layer, so their input is quantized once.
- After the last layer's keys and values only the first token matters to a classifier: its query,
  its feed-forward, its head.
- Embeddings stay int8 in memory; looked-up rows are multiplied out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from stages.engines.safe_l.families import FAMILIES, Family
from stages.model.tokens import Batch, unpadded
from stages.plumbing.command import UserError
from stages.plumbing.memory import keep_freed_memory
from stages.variants.int8_fast.fit import misfits
from stages.variants.int8_fast.kernel.dispatch import choose_kernel
from stages.variants.int8_fast.linear import Activation, FastLinear

DISTILBERT_EPS = 1e-12
# What transformers calls a function -> what the kernel's epilogue can do, or what comes after it.
EPILOGUES: dict[str, Activation] = {"gelu": "gelu", "relu": "relu"}


class Norm(NamedTuple):
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor, other: Tensor) -> Tensor:
        """Of their sum; x may be overwritten."""
        if choose_kernel() != "library":
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
    ffn_act: Callable[[Tensor], Tensor] | None
    ffn_out: FastLinear
    after_ffn: Norm


class FastClassifier:
    """Callable: a padded batch -> float32 logits (batch, outputs)."""

    def __init__(self, family: Family, config: Any, tensors: dict[str, Tensor]) -> None:
        self.tensors, self.family, self.config = tensors, family, config
        self.eps = getattr(config, family.eps) if family.eps else DISTILBERT_EPS
        self.heads = getattr(config, family.heads)
        at = family.embeddings
        self.words = self.table(f"{at}.word_embeddings")
        self.positions = multiplied(*self.table(f"{at}.position_embeddings"))
        kinds = f"{at}.token_type_embeddings"
        self.kinds = multiplied(*self.table(kinds)) if f"{kinds}.weight" in tensors else None
        self.first_position = config.pad_token_id + 1 if family.padded_positions else 0
        self.after_embeddings = self.norm(f"{at}.LayerNorm")
        count = getattr(config, family.layers)
        self.layers = [self.layer(i, last=i == count - 1) for i in range(count)]
        *inner, (logits, _) = family.head
        self.head = [(self.linear(name), getattr(torch, act)) for name, act in inner]
        self.logits = tensors[f"{logits}.weight"], tensors[f"{logits}.bias"]
        self.tensors = {}  # as they are packed, they need not be kept a second time

    def table(self, name: str) -> tuple[Tensor, Tensor]:
        return self.tensors[f"{name}.weight"], self.tensors[f"{name}.weight_scale"]

    def norm(self, name: str) -> Norm:
        return Norm(self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], self.eps)

    def linear(self, *names: str, activation: Any = "none") -> FastLinear:
        """One layer of those that share an input."""
        weight, scale, bias = (
            torch.cat([self.tensors[f"{name}.{part}"] for name in names])
            for part in ("weight", "weight_scale", "bias")
        )
        return FastLinear(weight, scale, bias, activation=activation)

    def layer(self, i: int, last: bool) -> Layer:
        family = self.family
        query, *others = (name.format(i=i) for name in (family.query, family.key, family.value))
        act = getattr(self.config, family.ffn_act)
        return Layer(
            self.linear(*others) if last else self.linear(query, *others),
            self.linear(query) if last else None,
            self.linear(family.attention_out.format(i=i)),
            self.norm(family.after_attention.format(i=i)),
            self.linear(family.ffn_in.format(i=i), activation=EPILOGUES.get(act, "none")),
            None if act in EPILOGUES else other_activation(act),
            self.linear(family.ffn_out.format(i=i)),
            self.norm(family.after_ffn.format(i=i)),
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
        for linear, act in self.head:
            x = act(linear(x))
        # Not a matrix product, whose sums would depend on how many texts there are.
        weight, bias = self.logits
        return (x.unsqueeze(1) * weight).sum(-1).add_(bias)

    def embed(self, flat: dict[str, Tensor], places: Tensor) -> Tensor:
        ids = flat["input_ids"]
        x = multiplied(*(part[ids] for part in self.words))
        if self.kinds is not None:
            kinds = flat.get("token_type_ids")
            x += self.kinds[0] if kinds is None else self.kinds[kinds]
        return self.after_embeddings(x, self.positions[places + self.first_position])

    def run(self, layer: Layer, x: Tensor, starts: Tensor) -> Tensor:
        """Rows of all tokens (tokens, hidden); out of the last layer, of first tokens alone.

        Args:
            starts: (texts + 1,), where in x each text begins, and the end.
        """
        asked, qkv = starts, layer.qkv(x)
        if layer.query is None:
            query, key, value = qkv.chunk(3, 1)
        else:
            key, value = qkv.chunk(2, 1)
            x, asked = x[starts[:-1]], torch.ones_like(starts).cumsum(0) - 1
            query = layer.query(x)
        attended = attention(query, key, value, asked, starts, self.heads)
        x = layer.after_attention(layer.attention_out(attended), x)
        inner = layer.ffn_in(x)
        if layer.ffn_act is not None:
            inner = layer.ffn_act(inner)
        return layer.after_ffn(layer.ffn_out(inner), x)


def attention(
    query: Tensor, key: Tensor, value: Tensor, asked: Tensor, told: Tensor, heads: int
) -> Tensor:
    """Of texts one behind the other: (rows, hidden) each -> rows of `query`.

    Args:
        asked, told: (texts + 1,), where each text begins in `query`, and in `key` and `value`.
    """
    if choose_kernel() != "library":
        mixed: Tensor = torch.ops.int8_fast.attention(query, key, value, asked, told, heads)
        return mixed
    parts = []
    for text in range(len(told) - 1):
        rows, others = slice(*asked[text : text + 2]), slice(*told[text : text + 2])
        q, k, v = (
            part.unflatten(1, (heads, -1)).transpose(0, 1).unsqueeze(0)
            for part in (query[rows], key[others], value[others])
        )
        parts.append(scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1))
    return torch.cat(parts)


def multiplied(weight: Tensor, scale: Tensor) -> Tensor:
    """Rows of int8 and their scales -> float32."""
    return weight.float().mul_(scale.unsqueeze(-1))


def other_activation(name: str) -> Callable[[Tensor], Tensor]:
    from transformers.activations import ACT2FN

    activation: Callable[[Tensor], Tensor] = ACT2FN[name]
    return activation


def load(artifact: Path) -> FastClassifier:
    """The classifier in `artifact`, packed for this CPU.

    From then on this process keeps the memory that it frees: each call takes and frees the same
    tens of MB, which the system would otherwise clear anew every time.

    Raises:
        UserError: the weights do not fit config.json.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(artifact)
    tensors = load_file(artifact / "model.safetensors")
    family = FAMILIES[config.model_type]
    if strange := misfits(family, config, tensors):
        raise UserError(
            f"{artifact}/model.safetensors does not fit its config.json: they differ in "
            f"{', '.join(strange[:3])}; run 'dvc repro' to build it anew"
        )
    classifier = FastClassifier(family, config, tensors)
    keep_freed_memory()  # not before: what packing frees is worth more to others
    return classifier
