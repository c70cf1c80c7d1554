"""Hiding some tokens of each text while a model trains, so that no single one decides.

For models from scratch on few texts, which otherwise know them by heart after an epoch or two
(word dropout: Iyyer et al., 2015, "Deep Unordered Composition", section 2.3).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@contextmanager
def token_dropout(
    model: nn.Module, tokenizer: "PreTrainedTokenizerBase", share: float
) -> Iterator[None]:
    """Within the block and in training mode, `share` of the tokens read as [MASK]; none if 0."""
    special = torch.tensor(tokenizer.all_special_ids)

    def hide(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if not module.training:
            return None
        ids = arguments[0]
        hidden = torch.rand(ids.shape, device=ids.device) < share
        hidden &= ~torch.isin(ids, special.to(ids.device))
        return (ids.masked_fill(hidden, tokenizer.mask_token_id), *arguments[1:])

    if share == 0:
        yield
        return
    embeddings: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    hook = embeddings.register_forward_pre_hook(hide)
    try:
        yield
    finally:
        hook.remove()
