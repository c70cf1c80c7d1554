"""Names that become a folder, a file, an item of a stage and an argument: one rule for each kind.

What they are made of means nothing to a shell, in a path, in a key of DVC's or on a page.
"""

import re

LONGEST = 60  # characters; a file system takes 255, with what a stage puts around them
WORDS = re.compile(r"[a-z0-9]+(?:__?[a-z0-9]+)*")
MOST = 2**32 - 1  # numpy takes no larger seed
# Folders of reports/ and metrics/ that are no task's.
TAKEN = ("code", "outside")
ITEMS = ("task", "seed", "variant")  # what a stage is one of; dvc.yaml's matrices name them


def check(kind: str, name: str) -> None:
    """Raises ValueError for what can be no name of an item; `kind` is one of ITEMS."""
    if kind == "seed":
        check_seed(name)
    elif len(name) > LONGEST or not WORDS.fullmatch(name):
        raise ValueError(
            f"{name[:LONGEST]!r} is no name for a {kind}; take small letters and digits, words "
            f"joined by an underscore (or two), {LONGEST} characters at most"
        )
    elif name in TAKEN:
        raise ValueError(f"{name!r} is a folder of the pipeline's own; give the {kind} another one")


def check_seed(written: str) -> None:
    if not re.fullmatch(r"0|[1-9][0-9]{0,9}", written) or int(written) > MOST:
        raise ValueError(f"{written[:LONGEST]!r} is no seed; take a whole number up to {MOST:,}")
