"""One peer in a process of its own, timed from within: TimedProcess for more than our variants."""

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bench import peers
from bench.isa import Isa, NotHidden, hide_from
from bench.prepare import Prepared
from stages.model.tokens import Batch, Predict
from stages.plumbing.command import UserError
from stages.running.timed_process import TimedProcess, read_batches

LIMIT_S = 20.0  # of one batch; who takes longer is cut off
PASS_LIMIT_S = 240.0  # of all batches, by what the longest takes


class CutOff(Exception):
    """The peer does not take part; the message is its one line."""


class Runner(TimedProcess):
    """The parent's end, once per peer and thread count."""

    def __init__(self, peer: Prepared, threads: int, batches: Path, isa: Isa) -> None:
        """Start the child, which loads the peer at once."""
        name, folder = peer.name, peer.folder
        command = [str(peer.python), "-m", "bench.runner", name, str(folder), str(threads)]
        environment = os.environ | isa.environment | peers.switches(name)
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        environment |= {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
        self.name, self.threads = name, threads
        self.log = (folder.with_name(f"{folder.name}.run.log")).open("w")
        self.child = subprocess.Popen(
            [*command, str(batches)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )

    def wait(self) -> dict[str, Any]:
        """Until it is loaded; `load_s` and `hidden_by`. Call once.

        Raises:
            CutOff: it did not come up, or with another number of threads.
        """
        try:
            facts: dict[str, Any] = self.answer()
        except UserError:
            raise CutOff(f"{self.name} could not be loaded (see {self.log.name})") from None
        if error := facts.get("error"):
            raise CutOff(f"{self.name}: {error}")
        if facts["threads"] not in (None, self.threads):
            raise CutOff(f"{self.name} runs with {facts['threads']} threads, not {self.threads}")
        return facts

    def ask(self, request: dict[str, Any], limit_s: float | None = None) -> Any:
        """Send one request; its answer.

        Raises:
            CutOff: none came within `limit_s`; the child is killed.
        """
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        with suppress(BrokenPipeError):
            self.child.stdin.write(json.dumps(request) + "\n")
            self.child.stdin.flush()
        if limit_s and not select.select([self.child.stdout], [], [], limit_s)[0]:
            self.child.kill()
            raise CutOff(f"{self.name}: one batch takes over {limit_s:g} s, cut off")
        return self.answer()

    def probe(self, key: str, passes: int) -> None:
        """Run the longest batch once for nothing and once on the clock.

        Args:
            passes: batches of its kind.

        Raises:
            CutOff: it takes over LIMIT_S, or all of them would take over PASS_LIMIT_S.
        """
        self.ask({"probe": key}, LIMIT_S)
        seconds: float = self.ask({"probe": key}, LIMIT_S)
        if seconds * passes > PASS_LIMIT_S:
            raise CutOff(
                f"{self.name}: {seconds:.1f} s for one batch, so over {PASS_LIMIT_S:g} s for the "
                "rows, cut off"
            )

    def logits(self, key: str) -> np.ndarray:
        return np.array(self.ask({"logits": key}), dtype=np.float64)

    def time(self, keys: list[str]) -> list[tuple[float, list[int]]]:
        """Milliseconds of each of these batches, and the answer to each of its rows."""
        times: list[tuple[float, list[int]]] = self.ask({"time": keys})
        return times

    def peak_mb(self) -> float:
        megabytes: float = self.ask({"peak": True})
        return megabytes

    def close(self) -> None:
        """May be called again."""
        if not self.log.closed:
            super().close()
            self.log.close()


def peak_mb() -> float:
    """Most memory that this process ever had, 1 MB = 1e6 bytes.

    Not `ru_maxrss` where Linux has better: that survives exec, and would so begin with the size of
    the parent that started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def timed(predict: Predict, batch: Batch) -> tuple[float, list[int]]:
    start = time.perf_counter()
    logits = predict(batch)
    return 1000 * (time.perf_counter() - start), np.asarray(logits).argmax(axis=1).tolist()


def serve(name: str, folder: str, threads: str, batches: str) -> None:
    """The child: load, say how that went, then do what is asked for until stdin ends."""
    # What a library prints is no answer, be it written in Python or in C.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(value: Any) -> None:
        print(json.dumps(value), file=answers, flush=True)

    loaded = read_batches(Path(batches))
    peer = peers.get(name)
    try:
        how = hide_from(peer.LIBRARY)
    except NotHidden as error:
        return answer({"error": f"the instruction set could not be hidden: {error}"})
    start = time.perf_counter()
    predict, threads_found = peer.load(Path(folder), int(threads))
    load_s = time.perf_counter() - start
    answer({"threads": threads_found, "load_s": load_s, "hidden_by": how})
    for line in sys.stdin:
        request = json.loads(line)
        if keys := request.get("time"):
            predict(loaded[keys[0]])  # caches are cold after another's turn: this one is not timed
            answer([timed(predict, loaded[key]) for key in keys])
        elif "logits" in request:
            answer(np.asarray(predict(loaded[request["logits"]])).tolist())
        elif "probe" in request:
            answer(timed(predict, loaded[request["probe"]])[0] / 1000)
        else:
            answer(peak_mb())


if __name__ == "__main__":
    serve(*sys.argv[1:])
