"""One epoch of fine-tuning: this project's training against a plain loop, whole, with all threads.

Each in a process of its own. Only the training is timed; both models are then scored alike.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import workloads
from bench.isa import Isa
from stages.measure.accuracy import score
from stages.model.artifact import Recipe
from stages.model.classifier import predictor
from stages.model.tokens import batches, encode, predict_all
from stages.plumbing.command import UserError
from stages.plumbing.cpu_share import all_threads
from stages.settings.params import load_params
from stages.training.fit import longest_input, model_inputs
from stages.training.loop import Examples, train
from stages.training.model_names import resolve
from stages.training.pretrained import load

WAYS = ("plain", "ours")
PLAIN_BATCH = 32
SEED = 42


def measure(rounds: int, model: str, rows: int, isa: Isa) -> list[dict[str, Any]]:
    """`{way, round, seconds, f1}`, plain and ours in turn; `rows` of train, 0 for all.

    Raises:
        UserError: a training failed.
    """
    trainings = []
    for number in range(rounds):
        for way in WAYS:
            print(f"fine-tuning, round {number + 1}/{rounds}: {way}", flush=True)
            command = [sys.executable, "-m", "bench.finetuning", way, model, str(rows)]
            threads = str(all_threads())
            environment = os.environ | isa.environment
            environment |= {"OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                raise UserError(f"fine-tuning ({way}) ended with code {done.returncode}; see above")
            trainings.append({"way": way, "round": number} | json.loads(done.stdout))
    return trainings


def one(way: str, name: str, limit: int) -> dict[str, float]:
    """Seconds of the training, and the first metric on validation (for MRPC: F1)."""
    import torch

    torch.set_num_threads(all_threads())
    rows = workloads.rows(workloads.PAIRS)
    trained_on = rows.train.head(limit) if limit else rows.train
    settings = load_params().training(rows.task.name).model_copy(update={"epochs": 1.0})
    source, columns = resolve(name), list(rows.task.text_columns)
    model, tokenizer = load(source, rows.task, SEED, texts=trained_on[columns].to_numpy().ravel())
    recipe = Recipe(
        task=rows.task.name,
        model=name,
        weights=source.weights,
        seed=SEED,
        max_length=settings.max_length or longest_input(model, tokenizer),
        inputs=model_inputs(model, tokenizer.model_input_names),
    )
    tokens = encode(tokenizer, rows.task, trained_on, recipe)
    examples = Examples(tokens, trained_on["label"].to_numpy())
    start = time.perf_counter()
    if way == "ours":
        with tempfile.TemporaryDirectory() as temporary:
            unfinished = Path(temporary) / "unfinished"
            train(model, tokenizer, settings, SEED, examples, unfinished, train.__module__, "")
    else:
        plain(model, tokenizer, examples, settings.learning_rate)
    seconds = time.perf_counter() - start
    model.eval()
    tokens = encode(tokenizer, rows.task, rows.validation, recipe)
    fed = batches(tokenizer, tokens, 32, "longest", recipe.max_length)
    logits = predict_all(predictor(model), fed, len(tokens))
    metrics = score(rows.task.metrics, rows.validation["label"].to_numpy(), logits)
    return {"seconds": seconds, "f1": float(metrics[rows.task.metrics[0]])}


def plain(model: Any, tokenizer: Any, examples: Examples, learning_rate: float) -> None:
    """What a PyTorch user writes: shuffled, batches of 32, padded to the longest of the batch."""
    import torch

    torch.manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    order = np.random.default_rng(SEED).permutation(len(examples))
    model.train()
    for begin in range(0, len(order), PLAIN_BATCH):
        chosen = [examples[i] for i in order[begin : begin + PLAIN_BATCH]]
        batch = tokenizer.pad(chosen, padding="longest", return_tensors="pt", verbose=False)
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(one(sys.argv[1], sys.argv[2], int(sys.argv[3]))), file=answers)
