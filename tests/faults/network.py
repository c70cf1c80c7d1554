"""A connection that breaks off at random bytes, of the hub's data and of its models."""

import io
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd
import yaml

from stages.settings.writing import merge
from tests.faults.comparing import Files, Reference, read_files
from tests.faults.finding import Kind, Trial, Wrong
from tests.faults.jobs import Job
from tests.faults.laboratory import Laboratory, failed
from tests.stand_in_hub import Server
from tests.warm import die_with_the_parent

FAULT = "cut network"
MODEL = "somebody/tiny-bert"
# What of params.yaml has each stage ask the hub.
FROM_HUB: dict[str, dict[str, Any]] = {
    "download_glue": {"download_glue": {"sources": ["hub"]}},
    "finetune": {"finetune": {"mrpc": {"model": MODEL}}},
}
MOST_BREAKS = 12  # more than are tried anew


def cut_networks(lab: Laboratory, number: int) -> Iterator[Trial]:
    """Of both stages that download, in turn."""
    asked = [job for job in lab.jobs if job.stage in FROM_HUB]
    states = {job: before(lab, job) for job in asked}
    undisturbed = {job: reference(lab, job, states[job]) for job in asked}
    for turn in range(number):
        job = asked[turn % len(asked)]
        longest = max(map(len, served(lab).values()))
        breaks = [
            int(longest ** lab.random.random()) for _ in range(lab.random.randint(1, MOST_BREAKS))
        ]
        yield cut(lab, undisturbed[job], states[job], breaks)


def before(lab: Laboratory, job: Job) -> Files:
    state = lab.before(job, old=False)
    params = yaml.safe_load(state["params.yaml"])
    merge(params, FROM_HUB[job.stage])
    return state | {"params.yaml": yaml.safe_dump(params, sort_keys=False).encode()}


def served(lab: Laboratory) -> dict[str, bytes]:
    """The data set's files, by their address on the hub."""
    files = {}
    for split in ("train", "validation", "test"):
        rows = pd.read_parquet(io.BytesIO(lab.new[f"data/mrpc/{split}.parquet"]))
        rows = rows.rename(columns={"id": "idx"}).assign(idx=range(len(rows)))
        address = f"/datasets/nyu-mll/glue/resolve/main/mrpc/{split}-00000-of-00001.parquet"
        buffer = io.BytesIO()
        rows.to_parquet(buffer, index=False)
        files[address] = buffer.getvalue()
    return files


@contextmanager
def hub(lab: Laboratory, breaks: list[int]) -> Iterator[str]:
    """The address of a hub that breaks off so many bytes into each file, as long as any are left.

    In a process of its own: one that forks must have no threads.
    """
    files = served(lab)
    told, tell = os.pipe()
    if (pid := os.fork()) == 0:
        die_with_the_parent()
        server = Server()
        server.files |= files
        server.add_model(MODEL, lab.finished.project / "tiny-bert")
        server.break_off_after = breaks
        os.write(tell, server.url.encode())
        while True:
            time.sleep(60)
    try:
        yield os.read(told, 100).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(told)
        os.close(tell)


def reference(lab: Laboratory, job: Job, state: Files) -> Reference:
    with lab.place(job, state=state) as place, hub(lab, []) as address:
        started = time.monotonic()
        ended = lab.run(job, place, HF_ENDPOINT=address)
        if ended.code:
            raise failed(job, ended)
        new, seconds = read_files(place.project), time.monotonic() - started
    return Reference(job, {}, new, frozenset(), [], ended.stdout, seconds)


def cut(lab: Laboratory, undisturbed: Reference, state: Files, breaks: list[int]) -> Trial:
    """With breaks, then without."""
    job, wrongs = undisturbed.job, []
    with lab.place(job, state=state) as place:
        with hub(lab, breaks) as address:
            ended = lab.run(job, place, HF_ENDPOINT=address)
        now = read_files(place.project)
        if ended.hung:
            wrongs.append(Wrong(Kind.HANG, "does not end"))
        elif ended.code == 0:
            wrongs += undisturbed.not_as_undisturbed(now)
        else:
            if not ended.refused(job):
                wrongs.append(Wrong(Kind.UNRULY, f"code {ended.code}: {ended.last_line()}"))
            wrongs += undisturbed.half_written(state, now)
        with hub(lab, []) as address:
            again = lab.run(job, place, HF_ENDPOINT=address)
        if again.code:
            wrongs.append(Wrong(Kind.LOST, f"fails with a network again: {again.last_line()}"))
        else:
            wrongs += undisturbed.not_as_undisturbed(read_files(place.project))
    without_addresses = [
        replace(wrong, what=wrong.what.replace(address, "the hub")) for wrong in wrongs
    ]
    return Trial(FAULT, job.name, f"after {breaks} bytes", tuple(without_addresses))
