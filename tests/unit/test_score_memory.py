"""`make score` needs as much memory for a million rows as for some thousands."""

import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.scoring import WRITERS, corpus, started

pytestmark = pytest.mark.slow
FEW, MANY = 4_000, 60_000
MORE_BYTES = 60e6


def test_memory_does_not_grow_with_the_corpus(
    integer_exports: dict[str, Path], tmp_path: Path
) -> None:
    for ending, write in WRITERS.items():
        peaks = {}
        for rows in (FEW, MANY):
            file = write(tmp_path / f"{rows}{ending}", corpus(rows))
            if ending == ".parquet":  # all of it in one row group, as most writers leave it
                pq.write_table(pa.table(corpus(rows)), file, row_group_size=rows)
            out = tmp_path / f"{rows}{ending}.parquet"
            child = started(file, out, "--model", integer_exports["cola"], "--workers", 1)
            peaks[rows] = peak_bytes(child.pid)
            assert child.wait() == 0
        assert peaks[MANY] - peaks[FEW] < MORE_BYTES, (ending, peaks)


def peak_bytes(pid: int) -> int:
    """Resident memory of a process and of those that it started, until it ends."""
    peak = 0
    process = psutil.Process(pid)
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(one.memory_info().rss for one in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.02)
    return peak
