"""What is done of a job so far, in `OUT.partial/`: a file a block, so that a killed job goes on.

A block's file appears whole or not at all, and a block that has one is not done again: that is all
there is to resuming.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from stages.plumbing.command import UserError
from stages.plumbing.files import PARTIAL, new_file, partial_name, write_json
from stages.plumbing.json_file import read_json
from stages.score.corpus import Block
from stages.score.job import JOB, Job, Scored
from stages.score.rows import Span

ONE_FILE = ".parquet"  # what OUT ends in; else it is a folder


def is_whole(out: Path, job: Job) -> bool:
    """Whether `out` is what this job would make.

    Raises:
        UserError: something else lies there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    first = next(iter(sorted(out.glob("*.parquet"))), out) if out.is_dir() else out
    try:
        found = (pq.read_schema(first).metadata or {}).get(JOB, b"")
    except (OSError, ValueError):
        found = b""
    if found.decode() != job.identity:
        raise UserError(
            f"{out} exists and is not what this corpus, model and options give; remove it, or "
            "name another place"
        )
    return True


class JobFolder:
    """`OUT.partial/` of one job, held by one process."""

    def __init__(self, folder: Path, blocks: list[Block]) -> None:
        self.folder, self.blocks = folder, blocks

    def file(self, number: int) -> Path:
        return self.folder / "blocks" / f"{number:09}.parquet"

    def missing(self) -> list[Block]:
        there = {path.name for path in (self.folder / "blocks").iterdir()}
        return [block for block in self.blocks if self.file(block.number).name not in there]

    def keep(self, scored: Scored) -> None:
        with new_file(self.file(scored.number)) as partial:
            partial.write_bytes(scored.parquet)


@contextmanager
def job_folder(out: Path, job: Job) -> Iterator[JobFolder]:
    """Begin the job, or go on with it.

    Raises:
        UserError: another process is at it, or what lies there is of another job.
    """
    folder = partial_name(out)
    (folder / "blocks").mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is scoring into {out}; let it end, or stop it") from None
    with lock:
        for leftover in (folder / "blocks").glob(f"*{PARTIAL}"):
            leftover.unlink()
        yield JobFolder(folder, blocks_of(folder, job))


def blocks_of(folder: Path, job: Job) -> list[Block]:
    """Those of the job, as they were cut when it began."""
    note = folder / "job.json"
    if not note.exists():
        if any((folder / "blocks").iterdir()):
            raise UserError(f"{folder} holds blocks of no known job; remove it")
        blocks = list(job.corpus.blocks(job.block_rows))
        write_json(note, {"job": job.facts, "blocks": [[b.file, *b.span] for b in blocks]})
        return blocks
    found = read_json(note)
    if found["job"] != job.facts:
        other = [name for name, value in job.facts.items() if found["job"].get(name) != value]
        raise UserError(
            f"{folder} is what is done of another job (other {', '.join(other)}); remove it, or "
            "name another place to score into"
        )
    return [
        Block(number, file, Span(*span)) for number, (file, *span) in enumerate(found["blocks"])
    ]


def remove(out: Path) -> None:
    """What a job has left beside its result."""
    shutil.rmtree(partial_name(out), ignore_errors=True)
