"""Which layers suffer from int8? Groups of layers, quantized one group at a time."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from torch import nn
from tqdm import tqdm

from stages.engines.int8.quantizers import Activations, Range
from stages.measure.accuracy import answers
from stages.measure.metrics import METRICS
from stages.measure.statistics import paired_drop_interval
from stages.model.classifier import predictor
from stages.model.tokens import Batch, predict_all
from stages.variants.int8_mixed.budget import Candidate, next_to_try, ranking
from stages.variants.int8_mixed.layer_groups import groups_of, quantize_except

RESAMPLES, CONFIDENCE = 2000, 0.95


class PartlyQuantized:
    """Logits on fixed rows of a model of which only some groups are in int8."""

    def __init__(
        self,
        module: nn.Module,
        how: Activations,
        ranges: dict[str, Range],
        sorted_batches: Iterable[tuple[np.ndarray, Batch]],
    ) -> None:
        self.module, self.how, self.ranges = module, how, ranges
        self.sorted_batches = list(sorted_batches)
        self.groups = groups_of(module)
        self.rows = sum(len(positions) for positions, _ in self.sorted_batches)

    def logits(self, kept: Iterable[str]) -> np.ndarray:
        """Shape (rows, labels), in the order of the rows."""
        module = quantize_except(kept, self.module, self.how, self.ranges)
        return predict_all(predictor(module), self.sorted_batches, self.rows)


def search(
    partly: PartlyQuantized, metric: str, labels: np.ndarray, max_drop_points: float
) -> tuple[pd.DataFrame, list[Candidate]]:
    """How much each group suffers alone, and the candidates that were tried, in their order.

    Groups are ranked by how far the logits move, not by the metric: on a few hundred rows that the
    model was trained on, most groups change no answer at all.

    Returns:
        A table with a row per group (`group`, `rms_logit_difference`, `drop_points`), and the
        candidates with their paired drop in points of `metric`.
    """
    reference = partly.logits(partly.groups)
    before = answers(reference)

    def drop(after: np.ndarray) -> float:
        return 100 * (METRICS[metric].score(labels, before) - METRICS[metric].score(labels, after))

    distances, drops = {}, {}
    for group in tqdm(partly.groups, "sensitivity"):
        logits = partly.logits(set(partly.groups) - {group})
        distances[group] = float(((logits - reference) ** 2).mean() ** 0.5)
        drops[group] = drop(answers(logits))
    tried: list[Candidate] = []
    while (kept := next_to_try(ranking(distances), tried, max_drop_points)) is not None:
        after = answers(partly.logits(kept))
        # A search, not a verdict: that is what evaluate's texts are for.
        spread = paired_drop_interval(
            metric, labels, [before], [after], RESAMPLES, CONFIDENCE, unseen=False
        )
        tried.append(Candidate(kept, drop(after), spread.high))
        print(f"{len(kept)} groups in fp32: a drop of at most {spread.high:.2f} points")
    columns = {"group": list(distances), "rms_logit_difference": list(distances.values())}
    return pd.DataFrame(columns | {"drop_points": list(drops.values())}), tried
