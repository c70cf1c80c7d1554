"""One fuzzer, as `python -m tests.fuzz` starts it; a crash of native code ends the process.

    python -m tests.fuzz.one TARGET SECONDS FOLDER

FOLDER/log gets a line `ran NUMBER` now and then, and `wrong FILE WHAT` for each kind of fault.
"""

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["stages"]):
    from tests.fuzz.targets import TARGETS

from tests.fuzz.mutation import structured
from tests.fuzz.rule import broken_rule

LONGEST = 100_000  # bytes of an input
REPORT_S = 1.0


def main(name: str, seconds: str, folder: str) -> None:
    target, log = TARGETS[name], Path(folder) / "log"
    corpus = Path(tempfile.mkdtemp(prefix="corpus-"))
    for seed in target.seeds(name):
        (corpus / seed.name).write_bytes(seed.read_bytes())
    said: set[str] = set()
    ran, reported = 0, time.monotonic()
    end = reported + float(seconds)

    def write(line: str) -> None:
        with log.open("a") as file:
            file.write(f"{line}\n")

    def one(data: bytes) -> None:
        nonlocal ran, reported
        wrong = broken_rule(target, data)
        ran += 1
        if wrong and wrong not in said:
            said.add(wrong)
            file = Path(folder) / hashlib.sha256(data).hexdigest()[:16]
            file.write_bytes(data)
            write(f"wrong {file.name} {wrong}")
        if (now := time.monotonic()) > min(end, reported + REPORT_S):
            write(f"ran {ran}")
            ran, reported = 0, now
            if now > end:
                os._exit(0)  # Fuzz never returns

    arguments = [f"-max_len={LONGEST}", "-timeout=60", "-rss_limit_mb=8000", "-verbosity=0"]
    arguments += [f"-artifact_prefix={folder}/", str(corpus)]
    # Looked up when it is called: Setup puts another one in its place.
    mutate = structured(target.form, lambda data, longest: atheris.Mutate(data, longest))
    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
