"""Blocks done on this machine: a process a core, each with a model of its own, one thread each."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from stages.plumbing.command import UserError
from stages.score.corpus import Block
from stages.score.engine import ONE_THREAD
from stages.score.job import Job, Scored, Worker

WAITING = 2  # blocks per process that are handed out: one to do and one to go on with


def in_processes(job: Job, blocks: Iterable[Block], workers: int) -> Iterator[Scored]:
    """In whatever order they are done; one worker is this process itself.

    Raises:
        UserError: a process died.
    """
    if workers == 1:
        yield from map(Worker(job).score, blocks)
        return
    os.environ |= ONE_THREAD
    # Forked from one that has imported all that is needed, and nothing else: they share its memory.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, context, start, (job,))
    waiting: set[Future[Scored]] = set()
    try:
        for block in blocks:
            if len(waiting) >= WAITING * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
            waiting.add(pool.submit(score, block))
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    except BrokenProcessPool:
        raise UserError(
            "a process that scores was killed, perhaps for want of memory; the same command goes "
            "on, with fewer at once by --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


worker: Worker


def start(job: Job) -> None:
    """Of a process: it ends with the one that started it, however that ends."""
    global worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started it decides
    threading.Thread(target=end_with_parent, daemon=True).start()
    worker = Worker(job)


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def score(block: Block) -> Scored:
    return worker.score(block)
