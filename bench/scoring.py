"""`make score` file to file: beside the model alone, one worker beside all, and a plain script.

    python -m bench.scoring [EXPORT [CHECKPOINT [ROWS [ROUNDS]]]]

The plain script is what people write today: datasets.map around transformers' pipeline, with the
checkpoint that the export was made of. All read one Parquet file of MRPC's training pairs, over
and over, and write another; each is a process of its own, turn by turn, on the clock from its
start to its end. Writes bench/scoring.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from bench import environments, workloads
from bench.environment import environment
from stages.plumbing import paths
from stages.plumbing.command import UserError, fail
from stages.plumbing.cpu_share import all_threads
from stages.plumbing.files import write_json
from stages.plumbing.json_file import read_json
from stages.reporting.markdown_table import pipe_table
from stages.score.scorer import Scorer
from stages.settings.params import load_params

FILE = Path(__file__).with_name("scoring.json")
ROWS, ROUNDS = 14_672, 3
PLAIN_ROWS = 1_834  # of these for the plain script, which would take all day
DATASETS = ("datasets==5.2.0",)
ONE, ALL, ALONE = "make score, one worker", "make score, all cores", "model alone"
PLAIN, BATCHED = "plain script", "plain script, batches of 32"
# As its documentation has it; the second argument is the pipeline's batch size.
SCRIPT = """
import sys
from datasets import load_dataset
from transformers import pipeline
corpus, checkpoint, out, size = sys.argv[1:]
classify = pipeline("text-classification", model=checkpoint, truncation=True, max_length=128)
def label(rows):
    pairs = zip(rows["sentence1"], rows["sentence2"])
    answers = classify([{"text": a, "text_pair": b} for a, b in pairs], batch_size=int(size))
    return {"label": [answer["label"] for answer in answers]}
rows = load_dataset("parquet", data_files=corpus, split="train")
rows.map(label, batched=True).to_parquet(out)
"""


def main(export: str = "", checkpoint: str = "", rows: str = "", rounds: str = "") -> None:
    found = workloads.rows(workloads.PAIRS)
    model = Path(export or paths.EXPORTS / found.task.name).absolute()
    seed = load_params().finetune.seeds[0]
    tuned = Path(checkpoint or paths.checkpoint(found.task.name, seed)).absolute()
    for place in (model / "manifest.json", tuned / "config.json"):
        if not place.exists():
            raise UserError(f"{place} does not exist; run 'make repro', or name EXPORT CHECKPOINT")
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = found.train[list(found.task.text_columns)]
        whole = repeated(texts, int(rows or ROWS), folder / "in.parquet")
        few = repeated(texts, min(PLAIN_ROWS, whole), folder / "few.parquet")
        ways = commands(model, tuned, folder)
        for number in range(int(rounds or ROUNDS)):
            for way, command in ways.items():
                took = timed(way, command, folder)
                texts_done = few if way in (PLAIN, BATCHED) else whole
                seconds[way].append(took / texts_done)
                rate = texts_done / took
                print(f"round {number + 1}, {way}: {rate:,.0f} texts per second", flush=True)
    manifest = read_json(model / "manifest.json")
    measured = {
        "environment": environment(),
        "task": found.task.name,
        "variant": manifest["variant"],
        "cores": all_threads(),
        "rows": whole,
        "rows_of_the_plain_script": few,
        "seconds_per_text": seconds,
    }
    write_json(FILE, measured)
    print(markdown(measured))


def repeated(texts: pd.DataFrame, rows: int, file: Path) -> int:
    times = -(-rows // len(texts))
    pd.concat([texts] * times, ignore_index=True).head(rows).to_parquet(file, index=False)
    return rows


def commands(model: Path, checkpoint: Path, folder: Path) -> dict[str, list[str]]:
    """Way -> what runs it; `OUT` stands for a file that does not exist."""
    score = [sys.executable, "-m", "stages.score", str(folder / "in.parquet"), "OUT"]
    score += ["--model", str(model), "--workers"]
    alone = [sys.executable, "-m", "bench.scoring", "--alone", str(folder / "in.parquet")]
    found = {ALONE: [*alone, str(model)], ONE: [*score, "1"], ALL: [*score, str(all_threads())]}
    own = environments.own("plain_script", DATASETS, ("datasets",))
    if own.lacking:
        print(f"  {PLAIN}: left out, {own.lacking}", flush=True)
        return found
    plain = [str(own.python), "-c", SCRIPT, str(folder / "few.parquet"), str(checkpoint), "OUT"]
    return found | {PLAIN: [*plain, "1"], BATCHED: [*plain, "32"]}


def timed(way: str, command: list[str], folder: Path) -> float:
    """Seconds; of the model alone, those that it says itself, after it was loaded."""
    out = folder / "out.parquet"
    out.unlink(missing_ok=True)
    own = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "TOKENIZERS_PARALLELISM": "false"}
    began = time.monotonic()
    done = subprocess.run(
        [str(out) if part == "OUT" else part for part in command],
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    took = time.monotonic() - began
    if done.returncode:
        raise UserError(f"{way} ended with code {done.returncode}: {done.stderr[-500:]}")
    return float(json.loads(done.stdout)) if way == ALONE else took


def alone(corpus: str, model: str) -> None:
    """Print the seconds that one core takes for the texts, once they are tokens in batches."""
    texts = list(pd.read_parquet(corpus).itertuples(index=False, name=None))
    scorer = Scorer(Path(model))
    batches = [batch for _, batch in scorer.batches(scorer.tokens(texts)[0])]
    scorer.classifier.run(batches[-1])
    began = time.monotonic()
    for batch in batches:
        scorer.classifier.run(batch)
    print(json.dumps(time.monotonic() - began))


def rates(measured: dict[str, Any]) -> dict[str, float]:
    """Way -> texts per second, the median of the rounds."""
    found = measured["seconds_per_text"]
    return {way: 1 / statistics.median(each) for way, each in found.items()}


def markdown(measured: dict[str, Any]) -> str:
    """For docs/race.md."""
    found = rates(measured)
    return pipe_table(
        [
            {
                "way": way,
                "texts per second": f"{rate:,.0f}",
                "of the model alone": f"{rate / found[ALONE]:.2f}",
                "all cores as fast": f"{found[ALL] / rate:.2f}x",
            }
            for way, rate in found.items()
        ]
    )


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--alone"]:
            alone(*sys.argv[2:])
        else:
            main(*sys.argv[1:])
    except UserError as error:
        fail("bench.scoring", str(error))
