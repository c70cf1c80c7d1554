"""A variant in a process of its own, timed from within, driven from outside over its pipes.

The parent (`TimedProcess`) sends one JSON line per request, the child answers with one. A child
that waits for its next request sleeps in `readline`.
"""

import json
import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from safetensors.numpy import load_file, save_file

from stages.measure.size import MB
from stages.model.tokens import Batch
from stages.plumbing.command import UserError, run_child

PEAK_MEMORY = "peak memory"  # a request; all others are lists of batches


class TimedProcess:
    """The parent's end. Use as a context manager; leaving it ends the child."""

    def __init__(self, variant: str, artifact: Path, threads: int, batches: Path) -> None:
        """Start the child; it loads the variant while others start too.

        Args:
            batches: padded batches, see `save_batches`.
        """
        command = [sys.executable, "-m", __name__]
        command += [variant, str(artifact), str(threads), str(batches)]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        self.name = f"{variant} with {threads} thread{'s' if threads > 1 else ''}"
        self.threads = threads
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def wait_until_loaded(self) -> None:
        """Call once, before the first timing.

        Raises:
            UserError: the child did not come up, or runs with another number of threads.
        """
        used = self.answer()["threads"]
        if used != self.threads:
            raise UserError(f"{self.name}: torch runs with {used} threads instead")

    def milliseconds(self, keys: list[str]) -> list[float]:
        """Run the batches of these names one after the other; milliseconds of each call."""
        times: list[float] = self.ask(keys)
        return times

    def peak_memory_mb(self) -> float:
        """Most that it has held so far, beyond what it held before it loaded the variant."""
        megabytes: float = self.ask(PEAK_MEMORY)
        return megabytes

    def ask(self, request: Any) -> Any:
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):  # the child is gone: `answer` finds no line and says so
            self.child.stdin.write(json.dumps(request) + "\n")
            self.child.stdin.flush()
        return self.answer()

    def answer(self) -> Any:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise UserError(
                f"{self.name}: the timed process ended with code {self.child.wait()}; see its own "
                "message above, and whether the machine has memory for it"
            )
        return json.loads(line)

    def close(self) -> None:
        """End the child and collect it, whatever state it is in."""
        self.child.communicate()

    def __enter__(self) -> "TimedProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:  # it may be in the middle of something that nobody waits for any more
            self.child.kill()
        self.close()


def save_batches(batches: dict[str, Batch], target: Path) -> None:
    """Write named batches for the child, as safetensors."""
    save_file(
        {f"{key}/{name}": a for key, batch in batches.items() for name, a in batch.items()}, target
    )


def read_batches(file: Path) -> dict[str, Batch]:
    """What `save_batches` wrote."""
    named: dict[str, Batch] = {}
    for key, array in load_file(file).items():
        name, _, argument = key.partition("/")
        named.setdefault(name, {})[argument] = array
    return named


def serve(variant: str, artifact: str, threads: str, batches: str) -> None:
    """The child: load, say with how many threads, then time what is asked for until stdin ends."""
    # What a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr

    import torch

    from stages import variants

    torch.set_num_threads(int(threads))
    torch.set_num_interop_threads(1)
    chosen = variants.get(variant)
    if chosen.needs == variants.TORCH:
        # Builds the module, but is not needed to run it: no memory of the variant's.
        from transformers import AutoModelForSequenceClassification  # noqa: F401
    before = psutil.Process().memory_info().rss
    predict = chosen.engine.load(Path(artifact))
    loaded = read_batches(Path(batches))
    print(json.dumps({"threads": torch.get_num_threads()}), file=answers, flush=True)
    for line in sys.stdin:
        keys = json.loads(line)
        if keys == PEAK_MEMORY:
            print(json.dumps((peak_memory() - before) / MB), file=answers, flush=True)
            continue
        times = []
        # After another process ran, caches are cold and its threads may still spin: a call that
        # does not count. Otherwise every first call of a block would be in the slowest tenth.
        predict(loaded[keys[0]])
        for key in keys:
            start = time.perf_counter()
            predict(loaded[key])
            times.append(1000 * (time.perf_counter() - start))
        print(json.dumps(times), file=answers, flush=True)


def peak_memory() -> int:
    """Bytes of memory that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss begins with what the parent held
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts in bytes


if __name__ == "__main__":
    run_child(serve)
