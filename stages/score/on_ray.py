"""Blocks done on Ray Data: an actor a worker, which loads the model once; a task a block.

The results come back to the one who asked, who alone writes. So an actor that dies loses its block,
which Ray gives to another one, and whoever asked may die and ask again for what is missing.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.plumbing.command import UserError, in_short
from stages.score.corpus import Block
from stages.score.engine import ONE_THREAD, Engine
from stages.score.job import Job, Scored, Worker
from stages.score.rows import Span

# Of results that wait in memory on this machine, where no cluster is at hand.
OBJECT_STORE_BYTES = 256 << 20
PACKAGE = Path(__file__).parents[1]


def on_ray(address: str) -> Engine:
    """Ray on this machine, or the cluster at `address`.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(
            f"--engine ray: {error}; .venv/bin/pip install -r requirements-ray.txt"
        ) from None

    def engine(job: Job, blocks: Iterable[Block], workers: int) -> Iterator[Scored]:
        items = [{"number": b.number, "file": b.file, **b.span._asdict()} for b in blocks]
        if not items:
            return
        try:
            connect(ray, address, workers)
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = context.print_on_execution_start = False
            found = ray.data.from_items(items, override_num_blocks=len(items)).map(
                Actor, fn_constructor_args=(job,), concurrency=workers, num_cpus=1
            )
            for row in found.iter_rows():
                yield Scored(**row)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise UserError(
                f"Ray: {in_short(error)}; the same command goes on with what is missing"
            ) from None
        finally:
            ray.shutdown()

    return engine


def connect(ray: Any, address: str, workers: int) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        # The code travels; corpus and model must lie where all machines see them.
        travels = {"py_modules": [str(PACKAGE)], "env_vars": ONE_THREAD}
        ray.init(address=address, runtime_env=travels, **quiet)
    else:
        os.environ |= ONE_THREAD
        ray.init(
            address="local",
            num_cpus=workers,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            **quiet,
        )
    logging.getLogger("ray.data").setLevel(logging.ERROR)


class Actor:
    def __init__(self, job: Job) -> None:
        self.worker = Worker(job)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, file, *span = row.values()
        return self.worker.score(Block(number, file, Span(*span)))._asdict()
