"""PyTorch's tutorial "Dynamic Quantization on BERT" before it quantizes: its own evaluation loop.

The race feeds it as the tutorial does: every pair padded to 128 tokens, batches of 8, unsorted.
"""

import shutil
from pathlib import Path

from bench.isa import Isa
from bench.peers import torch_threads
from stages.model.from_folder import from_folder
from stages.model.tokens import Predict

LIBRARY, REQUIRES, BITS = "torch", (), 32
LICENCE, TELEMETRY = "BSD-3-Clause", "none"
WEIGHTS = "temp.p"  # the tutorial's name for the file that it measures


def prepare(checkpoint: Path, folder: Path, isa: Isa) -> list[str]:
    import torch
    from transformers import BertForSequenceClassification

    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    state = from_folder(BertForSequenceClassification, folder).state_dict()
    torch.save(state, folder / WEIGHTS)
    return [WEIGHTS]


def load(folder: Path, threads: int) -> tuple[Predict, int | None]:
    from transformers import BertForSequenceClassification

    threads_found = torch_threads(threads)
    return tutorial_loop(from_folder(BertForSequenceClassification, folder)), threads_found


def tutorial_loop(model: object) -> Predict:
    """The inside of the tutorial's `evaluate`."""
    import torch

    model.eval()  # type: ignore[attr-defined]

    def predict(batch):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            inputs = {
                "input_ids": torch.from_numpy(batch["input_ids"]),
                "attention_mask": torch.from_numpy(batch["attention_mask"]),
                "token_type_ids": torch.from_numpy(batch["token_type_ids"]),
            }
            return model(**inputs)[0].detach().cpu().numpy()  # type: ignore[operator]

    return predict
