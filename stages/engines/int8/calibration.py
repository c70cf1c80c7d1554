"""Ranges of the inputs of Linear layers, from training rows that run through the FP32 model."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stages.dataset import stored
from stages.dataset.task import Task
from stages.engines.int8.layers import layers
from stages.engines.int8.quantizers import Range, affine
from stages.model.artifact import read_recipe
from stages.model.classifier import check_finite
from stages.model.tokens import Batch, batches_of, load_tokenizer
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json

RANGES = "ranges.json"
BINS = 2048
SHARES = np.geomspace(1.0, 0.01, 121)  # of an end, that mse_range tries: 4% apart
Method = Literal["percentile", "mse"]


def choose_rows(train: Path, rows: int, seed: int) -> pd.DataFrame:
    """A fixed random sample of the training split, in its order; all of it if it is smaller."""
    all_rows = stored.count(train)
    if rows >= all_rows:
        return stored.first_rows(train, all_rows)
    chosen = np.random.default_rng(seed).choice(all_rows, size=rows, replace=False)
    return stored.rows_at(train, np.sort(chosen))


def padded(task: Task, checkpoint: Path, rows: pd.DataFrame) -> list[tuple[np.ndarray, Batch]]:
    """Positions and padded batches of 32, as stage evaluate makes them."""
    recipe, tokenizer = read_recipe(checkpoint), load_tokenizer(checkpoint)
    return list(batches_of(tokenizer, task, rows, recipe, 32, "longest"))


class InputHistograms:
    """Two passes over the same rows: the ends of each Linear's input, then its histogram.

    Padded positions are left out: their activations never reach an answer.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.ends: dict[str, Range] = {}
        self.counts: dict[str, np.ndarray] = {}

    def run(self, sorted_batches: Iterable[tuple[np.ndarray, Batch]]) -> None:
        sorted_batches = list(sorted_batches)
        for observe in (self.widen, self.count):
            for _, batch in sorted_batches:
                inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
                real = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
                hooks = [
                    layer.register_forward_pre_hook(self.hook(observe, name, real))
                    for name, layer in layers(self.module, nn.Linear).items()
                ]
                with torch.inference_mode():
                    self.module(**inputs)
                for hook in hooks:
                    hook.remove()

    def hook(self, observe, name: str, real: Tensor):  # type: ignore[no-untyped-def]
        def look(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            x = arguments[0]
            observe(name, x[real] if x.ndim == 3 and x.shape[:2] == real.shape else x)

        return look

    def widen(self, name: str, x: Tensor) -> None:
        check_finite(f"the input of {name}", x)
        low, high = (float(end) for end in torch.aminmax(x))
        before = self.ends.get(name, Range(low, high))
        self.ends[name] = Range(min(before.low, low), max(before.high, high))

    def count(self, name: str, x: Tensor) -> None:
        counted = np.histogram(x.double().numpy(), bins=BINS, range=self.ends[name])[0]
        self.counts[name] = self.counts.get(name, 0) + counted


def percentile_range(counts: np.ndarray, ends: Range, percentile: float) -> Range:
    """The range that leaves out the same share on both sides, `percentile` of all being inside.

    Args:
        counts: histogram over `ends`, shape (bins,).
    """
    edges = np.linspace(ends.low, ends.high, len(counts) + 1)
    share = np.cumsum(counts) / counts.sum()
    tail = (1 - percentile / 100) / 2
    first = int(np.searchsorted(share, tail, side="right"))
    last = int(np.searchsorted(share, 1 - tail, side="left"))
    return Range(float(edges[first]), float(edges[min(last + 1, len(counts))]))


def mse_range(counts: np.ndarray, ends: Range, steps: int) -> Range:
    """The range, cut at each end on its own, whose quantization has the least squared error.

    The ends are moved in turn until both stand still. No better pair is missed that way: the error
    of what is cut off is convex in each end, that of rounding the rest grows with the square of
    their distance, so there is one valley.

    Args:
        counts: histogram over `ends`, shape (bins,).
        steps: levels of the activation, less one.
    """
    edges = np.linspace(ends.low, ends.high, len(counts) + 1)
    centres = (edges[:-1] + edges[1:]) / 2

    def error(span: Range) -> float:
        scale, zero = affine(span, steps)
        rounded = (np.clip(np.round(centres / scale) + zero, 0, steps) - zero) * scale
        return float((counts * (centres - rounded) ** 2).sum())

    # Zero gets a level in any case (see `affine`), so neither end is cut beyond it.
    lows, highs = min(ends.low, 0.0) * SHARES, max(ends.high, 0.0) * SHARES
    before, best = None, Range(float(lows[0]), float(highs[0]))
    while best != before:
        before = best
        best = min((Range(float(low), best.high) for low in lows), key=error)
        best = min((Range(best.low, float(high)) for high in highs), key=error)
    return Range(max(best.low, ends.low), min(best.high, ends.high))


def find_ranges(
    module: nn.Module,
    sorted_batches: Iterable[tuple[np.ndarray, Batch]],
    method: Method,
    percentile: float,
    bits: int,
) -> dict[str, Range]:
    """The range of each Linear's input: layer name -> range.

    Args:
        percentile: of the values to keep, in percent; only for that method.
    """
    seen = InputHistograms(module)
    seen.run(sorted_batches)
    return {
        name: percentile_range(counts, seen.ends[name], percentile)
        if method == "percentile"
        else mse_range(counts, seen.ends[name], 2**bits - 1)
        for name, counts in seen.counts.items()
    }


def write_ranges(ranges: dict[str, Range], folder: Path) -> None:
    write_json(folder / RANGES, ranges)


def read_ranges(folder: Path) -> dict[str, Range]:
    return {layer: Range(*ends) for layer, ends in read_json(folder / RANGES).items()}
