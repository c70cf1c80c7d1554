"""All blocks of a job, in order, as the Parquet file or folder of them that was asked for."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from stages.plumbing.command import UserError
from stages.score.corpus import Block
from stages.score.job import BAD, ROWS, Job, read_scored
from stages.score.job_folder import ONE_FILE, JobFolder
from stages.score.rows import as_json

FILE_ROWS = 1_000_000  # of one file in a folder
GROUP_ROWS, GROUP_BYTES = 1 << 16, 32 << 20  # what is written, and read, at once
SKIPPED = ".skipped.jsonl"


def skipped_file(out: Path) -> Path:
    return out.with_name(f"{out.name.removesuffix(ONE_FILE)}{SKIPPED}")


class Assembly:
    """Blocks go in one by one, what was counted adds up, bad rows go to the side file."""

    def __init__(self, job: Job, skip: bool, side_file: TextIO) -> None:
        self.job, self.skip, self.side_file = job, skip, side_file
        self.counts: Counter[str] = Counter()

    def write(self, blocks: list[Path], file: Path) -> None:
        """Raises UserError: there is a bad row, and such are not to be skipped."""
        schema = self.job.schema
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            waiting: list[pa.Table] = []
            for block in blocks:
                waiting.append(self.taken(block))
                rows, size = sum(map(len, waiting)), sum(each.nbytes for each in waiting)
                if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))

    def taken(self, block: Path) -> pa.Table:
        kept = read_scored(block, self.job.schema)
        for fault in kept.faults:
            if not self.skip:
                name = PurePosixPath(fault["file"]).name
                raise UserError(bad_row(f"{name} row {fault['row']}: {fault['reason']}"))
            self.side_file.write(as_json(fault) + "\n")
        self.counts += kept.counts
        self.counts[ROWS] += len(kept.table)
        return kept.table


def bad_row(line: str) -> str:
    """The message of one that stops all."""
    return f"{line} (or leave such rows out with --on-error skip; what is done so far is kept)"


def assemble(folder: JobFolder, job: Job, out: Path, skip: bool) -> Counter[str]:
    """Make `out`, and a side file of the bad rows where there are some; what was counted.

    Raises:
        UserError: there is a bad row, and such are not to be skipped.
    """
    made, one = folder.folder / "result", out.suffix == ONE_FILE
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    side_file = folder.folder / "skipped.jsonl"
    with side_file.open("w", encoding="utf-8") as lines:
        assembly = Assembly(job, skip, lines)
        for number, blocks in enumerate(in_files(folder.blocks, one)):
            files = [folder.file(block.number) for block in blocks]
            assembly.write(files, made / f"part-{number:05}.parquet")
    if assembly.counts[BAD]:
        os.replace(side_file, skipped_file(out))
    else:
        skipped_file(out).unlink(missing_ok=True)  # of an earlier job
    if not one and out.exists():
        out.rmdir()  # an empty one
    os.replace(made / "part-00000.parquet" if one else made, out)
    return assembly.counts


def in_files(blocks: list[Block], one: bool) -> Iterator[list[Block]]:
    """Blocks that share a file; of no block at all, a file without rows."""
    current: list[Block] = []
    rows = 0
    for block in blocks:
        if current and not one and rows + block.span.rows > FILE_ROWS:
            yield current
            current, rows = [], 0
        current.append(block)
        rows += block.span.rows
    yield current
