"""Splits of a corpus that has none: the same on every machine, whatever the library versions."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def split(
    rows: "pd.DataFrame", shares: Mapping[str, float], by: str = "id"
) -> "dict[str, pd.DataFrame]":
    """Cut each class in the same proportions; a row's place is the checksum of its `by`.

    Rows with the same `by` and label lie next to each other, so at most one group per class and
    border stands in two splits.

    Args:
        rows: with a column `label`.
        shares: split name -> part of each class, from 0 to 1. What they leave is `train`.
        by: a column of strings.

    Returns:
        The splits of `shares`, then `train`, each in the order of the checksums and with all
        columns of `rows`.
    """
    order = rows[by].map(lambda text: hashlib.sha256(text.encode()).hexdigest())
    rows = rows.iloc[order.argsort(kind="stable")]
    place = rows.groupby("label").cumcount() / rows.groupby("label")[by].transform("size")
    splits, start = {}, 0.0
    for name, share in shares.items():
        end = start + share
        splits[name] = rows[(place >= start) & (place < end)].reset_index(drop=True)
        start = end
    splits["train"] = rows[place >= start].reset_index(drop=True)
    return splits
