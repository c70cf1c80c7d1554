"""From a fresh process to the first answer: importing the library, loading the model, one text.

What every process of the race imports is measured too, by one that does nothing else, and taken
off: a peer answers for its own library, not for our protocol.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from bench import peers
from bench.isa import Isa, hide_from
from bench.prepare import Prepared
from stages.model.tokens import Batch
from stages.running.timed_process import read_batches, save_batches

NOBODY = "nobody"
LIMIT_S = 120.0
RESOLUTION_S = 0.02  # starts of a process that imports nothing differ by so much


def measure(ready: list[Prepared], text: Batch, starts: int, isa: Isa) -> dict[str, float]:
    """Runner -> seconds, the median of `starts` turns, one thread; who fails has none.

    At least RESOLUTION_S.

    Args:
        text: a batch of one.
    """
    walls: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "text.safetensors"
        save_batches({"text": text}, file)
        for _ in range(starts):
            for one in [Prepared(NOBODY, Path()), *ready]:
                began = time.monotonic()
                if answered(one, file, isa):
                    walls[one.name].append(time.monotonic() - began)
    medians = {name: statistics.median(times) for name, times in walls.items()}
    return {
        name: max(wall - medians[NOBODY], RESOLUTION_S)
        for name, wall in medians.items()
        if name != NOBODY and len(walls[name]) == starts
    }


def answered(one: Prepared, file: Path, isa: Isa) -> bool:
    """Whether a process of its own gave an answer, which ends it."""
    own = {} if one.name == NOBODY else peers.switches(one.name)
    command = [str(one.python), "-m", "bench.first_answer", one.name, str(one.folder), str(file)]
    environment = os.environ | isa.environment | own
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return False
    return not done.returncode


def answer(name: str, folder: str, file: str) -> None:
    """The child."""
    text = read_batches(Path(file))["text"]
    if name != NOBODY:
        peer = peers.get(name)
        hide_from(peer.LIBRARY)
        predict, _ = peer.load(Path(folder), 1)
        predict(text)
    os._exit(0)  # what a library tidies up behind its answer is not waited for


if __name__ == "__main__":
    answer(*sys.argv[1:])
