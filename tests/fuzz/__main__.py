"""`make fuzz`: every parser of outside bytes for so many seconds, from its seeds on.

    python -m tests.fuzz TARGET SECONDS [--out FILE]      TARGET may be `all`

Atheris looks for inputs that reach new lines of a parser. One that breaks the rule (rule.py) is
said and kept, each fault once; it belongs into seeds/TARGET/, of which CI tries every file. Ends
with 1 where any was found.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.plumbing.command import nearest
from stages.plumbing.files import write_json
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    names = list(TARGETS) if given.target == "all" else [given.target]
    if names[0] not in TARGETS:
        parser.error(f"no target '{names[0]}'; {nearest(names[0], [*TARGETS, 'all'])}")
    if find_spec("atheris") is None:
        parser.error("atheris is missing; 'make .venv/ready-fuzz' installs it")
    results = [fuzzed(name, given.seconds) for name in names]
    if given.out:
        write_json(given.out, {"seconds": given.seconds, "targets": results})
    return 1 if any(result["wrong"] for result in results) else 0


def fuzzed(name: str, seconds: float) -> dict[str, Any]:
    """One target; started anew where native code ended it."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    log, end, crashes = folder / "log", time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0.5:
        command = [sys.executable, "-m", "tests.fuzz.one", name, str(left), str(folder)]
        with (folder / "output").open("a") as output:
            code = subprocess.run(command, stdout=output, stderr=output).returncode
        if code:
            crashes += 1
        if crashes > 20 or (code and not log.exists()):
            break
    lines = log.read_text().splitlines() if log.exists() else []
    ran = sum(int(line.split()[1]) for line in lines if line.startswith("ran "))
    wrong = sorted({line.split(" ", 2)[2] for line in lines if line.startswith("wrong ")})
    if crashes:
        wrong.append(f"{crashes} crashes of native code, see {folder}")
    print(f"{name}: {ran} inputs in {seconds:g} s, {len(wrong)} kinds of them break the rule")
    for line in wrong:
        print(f"    {line}")
    if wrong:
        print(f"    the inputs: {folder}", flush=True)
    return {
        "target": name,
        "inputs": ran,
        "seeds": len(TARGETS[name].seeds(name)),
        "wrong": len(wrong),
    }


if __name__ == "__main__":
    sys.exit(main())
