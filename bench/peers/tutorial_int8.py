"""PyTorch's tutorial "Dynamic Quantization on BERT": `quantize_dynamic` of the Linear layers."""

import shutil
import warnings
from pathlib import Path

from bench.isa import Isa
from bench.peers import torch_threads
from bench.peers.tutorial_fp32 import WEIGHTS, tutorial_loop
from stages.model.from_folder import from_folder
from stages.model.tokens import Predict

LIBRARY, REQUIRES, BITS = "torch", (), 8
LICENCE, TELEMETRY = "BSD-3-Clause", "none"


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    import torch

    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    torch.save(quantized(folder).state_dict(), folder / WEIGHTS)
    return [WEIGHTS]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    threads_found = torch_threads(threads)
    return tutorial_loop(quantized(folder)), threads_found


def quantized(folder: Path):  # type: ignore[no-untyped-def]
    """As in the tutorial, which never loads what it saved."""
    import torch
    from transformers import BertForSequenceClassification

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that quantize_dynamic is deprecated
        return torch.quantization.quantize_dynamic(  # type: ignore[attr-defined]
            from_folder(BertForSequenceClassification, folder),
            {torch.nn.Linear},
            dtype=torch.qint8,
        )
