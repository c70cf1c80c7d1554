"""`make faults`: every fault against every stage, at seeded points.

    python -m tests.faults [--seed 1] [--size 500] [--faults kill,...] [--variants ...] [--out FILE]

SIZE is the number of kills; of the other faults a share of it is tried. Ends with 1 where anything
was found. The same seed on the same code tries the same points.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.plumbing.files import write_json
from tests.faults.events import remove_library, start_anew_with_events
from tests.faults.finding import Record, Trial
from tests.faults.processes import collect_orphans

ALL_VARIANTS = "fp32,int8_dynamic,int8_mixed,int8_fast"
# Fault -> trials for each kill.
SHARES = {
    "kill": 1.0,
    "full disk": 0.3,
    "twice at once": 0.1,
    "flipped bit": 0.5,
    "cut network": 0.06,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--faults", default=",".join(SHARES))
    parser.add_argument("--variants", default=ALL_VARIANTS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--verbose", action="store_true", help="a line for each trial")
    given = parser.parse_args()
    if sys.platform != "linux":
        sys.exit("tests.faults: needs Linux, whose loader takes LD_PRELOAD")
    start_anew_with_events("tests.faults")
    collect_orphans()
    started, record = time.monotonic(), Record()
    try:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            tried(given, Path(folder).resolve(), record)
    finally:
        remove_library()
    for row in record.counts():
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    minutes = (time.monotonic() - started) / 60
    print(f"{len(record.trials)} trials in {minutes:.1f} minutes, {record.found} wrong")
    sys.exit(1 if record.found else 0)


def tried(given: argparse.Namespace, folder: Path, record: Record) -> None:
    from tests.faults import bits, disks, kills, laboratory, network, twice

    started = time.monotonic()
    lab = laboratory.opened(folder, given.seed, given.variants.split(","))
    references = lab.references()
    of_fault: dict[str, Callable[[int], Iterator[Trial]]] = {
        kills.FAULT: lambda number: kills.kills(lab, references, number),
        disks.FAULT: lambda number: disks.full_disks(lab, references, number),
        twice.FAULT: lambda number: twice.twice_at_once(lab, references, number),
        bits.FAULT: lambda number: bits.flipped_bits(lab, references, number),
        network.FAULT: lambda number: network.cut_networks(lab, number),
    }
    for fault in given.faults.split(","):
        lab.random.seed(f"{given.seed} {fault}")  # whichever others are tried
        began = time.monotonic()
        for trial in of_fault[fault](max(1, round(given.size * SHARES[fault]))):
            record.add(trial)
            if given.verbose:
                seconds = time.monotonic() - began
                print(f"{seconds:.1f} s: {fault}, {trial.job}, {trial.point}", flush=True)
            began = time.monotonic()
        if given.out:  # after each, so that an end in the next loses nothing
            write_json(given.out, results(given, record, (began - started) / 60))


def results(given: argparse.Namespace, record: Record, minutes: float) -> dict[str, Any]:
    return {
        "seed": given.seed,
        "size": given.size,
        "minutes": round(minutes, 1),
        "python": platform.python_version(),
        "torch": version("torch"),
        "counts": record.counts(),
        "findings": record.findings(),
    }


if __name__ == "__main__":
    main()
