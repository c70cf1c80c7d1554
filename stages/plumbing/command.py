"""How every stage is started and how it fails: one clear line on stderr, exit code 2."""

import argparse
import errno
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from stages.plumbing.cpu_share import all_threads, limited_by

COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, which some libraries put into messages


class UserError(Exception):
    """Bad input. The message says what is wrong, which value, and how to fix it, in one line."""


def nearest(name: str, known: list[str]) -> str:
    """A remedy for an unknown name: the closest known one if any is close, then all of them."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean '{close[0]}'? " if close else ""
    return f"{guess}known: {', '.join(sorted(known))}"


def run_stage(stage: Callable[..., None]) -> None:
    """Run `stage`, its positional parameters (all strings) taken from the command line.

    Those that have a default may be left out; those that have a name alone are options.

    Exits with 2 and one line on stderr for `UserError`, a full disk and a place that cannot be
    written; any other exception is a fault of this project and keeps its traceback.
    """
    if limited_by():  # torch would start a thread for each of the machine's processors
        os.environ.setdefault("OMP_NUM_THREADS", str(all_threads()))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for library in ("torchao", "torch.utils._pytree"):  # if installed, transformers imports torchao
        logging.getLogger(library).setLevel(logging.ERROR)
    name = inspect.getmodule(stage).__spec__.name.removesuffix(".__main__")  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=stage.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for parameter in inspect.signature(stage).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            add_option(parser, parameter)
        elif parameter.default is parameter.empty:
            parser.add_argument(parameter.name)
        else:
            parser.add_argument(parameter.name, nargs="?", default=parameter.default)
    try:
        stage(**vars(parser.parse_args()))
    except UserError as error:
        fail(name, str(error))
    except Exception as error:
        if is_disk_full(error):
            fail(name, f"the disk that holds {os.getcwd()} is full: free some space and run again")
        if place := unwritable(error):
            fail(name, place)
        raise


def add_option(parser: argparse.ArgumentParser, parameter: inspect.Parameter) -> None:
    """`--name value`, or of a truth value `--name` alone."""
    option = f"--{parameter.name.replace('_', '-')}"
    if parameter.default is False:
        parser.add_argument(option, action="store_true")
    elif parameter.default is parameter.empty:
        parser.add_argument(option, required=True)
    else:
        parser.add_argument(option, default=parameter.default)


def fail(stage: str, message: str) -> None:
    one_line = " ".join(message.split())
    print(f"{stage.removeprefix('stages.')}: {one_line}", file=sys.stderr)
    raise SystemExit(2)


def in_short(error: BaseException) -> str:
    """A library's exception in one line: its kind, and the first line of what it says."""
    plain = COLOURS.sub("", str(error))
    said = next((line.strip() for line in plain.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__


def is_disk_full(error: BaseException | None) -> bool:
    """Libraries wrap ENOSPC in their own exceptions, some of them only as text."""
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(error):
            return True
        if "PytorchStreamWriter failed" in str(error):  # torch.save does not say why
            return True
        error = error.__cause__ or error.__context__
    return False


# What a file system answers where something may not be read or written, or no folder can be.
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


def unwritable(error: BaseException | None) -> str:
    """One line: which place cannot be used, and what moves it; empty where that was not it."""
    while error is not None:
        if isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error):
            return "no folder for temporary files can be written; set TMPDIR to one that can"
        if isinstance(error, OSError) and error.errno in REFUSED and error.filename:
            place = Path(os.fsdecode(error.filename)).absolute()
            return f"{place} cannot be used ({error.strerror}); {mover(place)}"
        error = error.__cause__ or error.__context__
    return ""


def mover(place: Path) -> str:
    if place.is_relative_to(Path.cwd()):
        return "the project's folder must be yours to write: change its permissions, or clone it"
    if place.is_relative_to(os.environ.get("TMPDIR") or "/tmp"):
        return "set TMPDIR to a folder of your own"
    return (
        "change its permissions, or set BERTQUANT_CACHE (downloads), XDG_CACHE_HOME (what is "
        "compiled) and HF_HOME (the hub's files) to folders of your own"
    )
