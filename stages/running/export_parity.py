"""Proof that exported files give the answers of their variant."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from stages import variants
from stages.dataset import stored
from stages.dataset.task import read_task
from stages.measure.accuracy import answers, same_answers, score
from stages.measure.size import MB
from stages.model.artifact import Recipe
from stages.model.tokens import Batch, Encoded, batches, encode, load_tokenizer, predict_all
from stages.plumbing import paths
from stages.plumbing.command import UserError
from stages.running.timed_process import save_batches
from stages.settings.params import load_params

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# TorchScript runs the variant's own kernels, so its logits must be the variant's; a runtime that
# ships with its weights is the variant itself.
MAX_DIFFERENCE = {".pt": 1e-4, ".safetensors": 0.0}
# ONNX computes elsewhere, so its answers must be: on this share of the validation rows, or on as
# many as the variant itself keeps (less a point) between a padded batch and each row alone. Dynamic
# INT8 amplifies any change: one activation rounded the other way moves all that follow.
MIN_AGREEMENT_PCT, ALLOWANCE_POINTS = 99.0, 1.0
# Rows that are also run alone, and what may be less there: of so few, one is most of a point.
ALONE_ROWS, SAMPLE_ALLOWANCE_POINTS = 128, 3.0
# Of validation, all of whose padded batches are in memory at once; more would prove no more.
MOST_ROWS = 50_000


class Validation(NamedTuple):
    """What the export is compared on.

    Attributes:
        rows: of the split that are worth scoring.
        tokens: of each row, as in training.
    """

    recipe: Recipe
    tokenizer: "PreTrainedTokenizerBase"
    rows: pd.DataFrame
    tokens: Encoded

    @classmethod
    def read(cls, task: str, artifact: Path, recipe: Recipe) -> "Validation":
        rows = stored.first_rows(paths.split(task, "validation"), recipe.scored or MOST_ROWS)
        tokenizer = load_tokenizer(artifact)
        return cls(recipe, tokenizer, rows, encode(tokenizer, read_task(task), rows, recipe))


class Rows(NamedTuple):
    """Rows of validation in batches, and the variant's logits of them.

    Attributes:
        batches: positions among the rows, and their padded batch.
        expected: (rows, outputs).
    """

    batches: list[tuple[np.ndarray, Batch]]
    expected: np.ndarray


def check_parity(
    task: str, variant: str, artifact: Path, validation: Validation, folder: Path, files: list[str]
) -> dict[str, dict]:
    """Load the exported files in a fresh process and compare them with the variant, row by row.

    The validation split (its first MOST_ROWS rows, of random weights a few) in the padded batches
    that stage evaluate scored, whose logits it left; and ALONE_ROWS of it each alone, from the
    shortest to the longest, where padding and the other rows of a batch cannot matter.

    Returns:
        `pt`, `onnx` or `safetensors` -> file, size, its own metrics, how far it is from the
        variant, and how far the variant is from itself (`variant_self_agreement_pct`: the rows
        alone against the same ones in padded batches).

    A file that disagrees with the variant is left out, and said.

    Raises:
        UserError: each of them does.
    """
    labels, definition = validation.rows["label"].to_numpy(), read_task(task)
    padded, alone, sample = expected_of(task, variant, artifact, validation)
    own = agreement_pct(padded.expected[sample], alone.expected, labels[sample])
    result, refused = {}, {}
    shipped = fresh_logits(folder, files, {"padded": padded.batches, "alone": alone.batches})
    for file in files:
        logits = {of: shipped[f"{file}/{of}"] for of in ("padded", "alone")}
        difference = max(
            float(np.abs(logits["padded"] - padded.expected).max()),
            float(np.abs(logits["alone"] - alone.expected).max()),
        )
        agreement = agreement_pct(logits["padded"], padded.expected, labels)
        agreement_alone = agreement_pct(logits["alone"], alone.expected, labels[sample])
        limit = min(MIN_AGREEMENT_PCT, own - ALLOWANCE_POINTS)
        if (
            agreement < limit
            or agreement_alone < limit - SAMPLE_ALLOWANCE_POINTS
            or difference > MAX_DIFFERENCE.get(Path(file).suffix, np.inf)
        ):
            refused[file] = (
                f"{file} is not {variant}: same answer on {agreement:.2f} % of the validation "
                f"rows and on {agreement_alone:.2f} % of {len(sample)} rows alone (the variant in "
                f"other batches: {own:.2f} %), logits up to {difference:.2g} apart; it was not "
                "exported"
            )
            continue
        scores = score(definition.metrics, labels, logits["padded"])
        result[Path(file).suffix.removeprefix(".")] = {
            "file": file,
            "size_mb": (folder / file).stat().st_size / MB,
            "agreement_pct": agreement,
            "max_difference": difference,
            "alone_rows": len(sample),
            "alone_agreement_pct": agreement_alone,
            "variant_self_agreement_pct": own,
        } | {metric: float(scores[metric]) for metric in definition.metrics}
    if not result:
        raise UserError("; ".join(refused.values()))
    for file, reason in refused.items():
        (folder / file).unlink()
        print(f"left out: {reason}")
    return result


def expected_of(
    task: str, variant: str, artifact: Path, validation: Validation
) -> tuple[Rows, Rows, np.ndarray]:
    """All rows in padded batches, some of them alone, and which ones these are."""
    settings, tokens = load_params().evaluate, validation.tokens

    def in_batches(some: Encoded, size: int) -> list[tuple[np.ndarray, Batch]]:
        max_length = validation.recipe.max_length
        return list(batches(validation.tokenizer, some, size, settings.padding, max_length))

    padded = in_batches(tokens, settings.batch_size)
    by_length = np.concatenate([positions for positions, _ in padded])
    spread = np.linspace(0, len(tokens) - 1, min(ALONE_ROWS, len(tokens)))
    sample = by_length[spread.round().astype(int)]
    alone = in_batches(tokens.taken(sample), 1)
    predict = variants.get(variant).engine.load(artifact)
    scored = evaluated(task, load_params().finetune.seeds[0], variant, len(tokens))
    positions, shortest = padded[0]
    # Another number of threads may add up in another order; then what was stored is of no use here.
    if len(scored) != len(tokens) or not np.array_equal(predict(shortest), scored[positions]):
        scored = predict_all(predict, padded, len(tokens))
    return Rows(padded, scored), Rows(alone, predict_all(predict, alone, len(sample))), sample


def agreement_pct(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> float:
    return 100 * float(same_answers(answers(first), answers(second), labels).mean())


def fresh_logits(
    folder: Path, files: list[str], runs: dict[str, list[tuple[np.ndarray, Batch]]]
) -> dict[str, np.ndarray]:
    """Logits of the exported files, from a process that never saw the variant.

    Returns:
        `<file>/<run>` -> (rows, outputs), in the order of the rows.
    """
    import torch

    named = {f"{run}-{i}": run_[i][1] for run, run_ in runs.items() for i in range(len(run_))}
    with tempfile.TemporaryDirectory() as temporary:
        saved, out = (Path(temporary) / f"{name}.safetensors" for name in ("batches", "logits"))
        save_batches(named, saved)
        command = [sys.executable, "-m", "stages.running.exported_process", str(folder)]
        command += [",".join(files), ",".join(next(iter(named.values())))]
        command += [str(saved), str(torch.get_num_threads()), str(out)]
        code = subprocess.run(command).returncode
        if code:
            raise UserError(
                f"the process that loads the export ended with code {code}; see its message above"
            )
        logits = load_file(out)
    found = {}
    for file in files:
        for run, batches_of_run in runs.items():
            order = np.concatenate([positions for positions, _ in batches_of_run])
            parts = [logits[f"{file}/{run}-{i}"] for i in range(len(batches_of_run))]
            found[f"{file}/{run}"] = np.concatenate(parts)[np.argsort(order)]
    return found


def evaluated(task: str, seed: int, variant: str, most: int) -> np.ndarray:
    """Of validation, what stage evaluate wrote down, to the last bit: float32 (rows, outputs).

    Args:
        most: the first so many rows; validation comes first in the file.
    """
    file = paths.predictions(task, seed, variant)
    table = pd.read_csv(file, keep_default_na=False, nrows=most)
    rows = table[table["split"] == "validation"]
    return rows.filter(like="logit_").to_numpy(np.float32)
