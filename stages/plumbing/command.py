"""How every stage is started, and the one place where whatever goes wrong in it ends."""

import argparse
import inspect
import logging
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from difflib import get_close_matches
from typing import Any, NoReturn, TextIO, cast

from stages.plumbing import names
from stages.plumbing.cpu_share import all_threads, limited_by
from stages.plumbing.disk import why_full
from stages.plumbing.faults import of_the_machine
from stages.plumbing.private import cleaned
from stages.plumbing.signals import (
    Ended,
    leave_ctrl_c_to_the_parent,
    signals_end_it,
    wait_for_children,
)
from stages.plumbing.terminal import Terminal, on_terminal

COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a terminal, which some libraries put into messages
BAD_INPUT, OUR_FAULT, INTERRUPTED = 2, 1, 130


class UserError(Exception):
    """Bad input. The message says what is wrong, which value, and how to fix it, in one line."""


def nearest(name: str, known: list[str]) -> str:
    """A remedy for an unknown name: the closest known one if any is close, then all of them."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    guess = f"did you mean '{close[0]}'? " if close else ""
    return f"{guess}known: {', '.join(sorted(known))}"


def run_stage(stage: Callable[..., None]) -> None:
    """Run `stage`, its parameters (all strings) taken from the command line.

    Those that name an item (`names.ITEMS`) are options, because DVC quotes a value only where it
    writes the option too (`${item}` in dvc.yaml), and they are checked; so are those that have a
    name alone. Of the others, which are positional, those that have a default may be left out. See
    `one_line` for how it ends where it fails.
    """
    if limited_by():  # torch would start a thread for each of the machine's processors
        os.environ.setdefault("OMP_NUM_THREADS", str(all_threads()))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for library in ("torchao", "torch.utils._pytree"):  # if installed, transformers imports torchao
        logging.getLogger(library).setLevel(logging.ERROR)
    name = module_of(stage)
    parser = OneLineParser(
        prog=f"python -m {name}",
        description=stage.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for parameter in inspect.signature(stage).parameters.values():
        if parameter.name in names.ITEMS or parameter.kind is parameter.KEYWORD_ONLY:
            add_option(parser, parameter)
        elif parameter.default is parameter.empty:
            parser.add_argument(parameter.name)
        else:
            parser.add_argument(parameter.name, nargs="?", default=parameter.default)
    with one_line(name), signals_end_it():
        given = vars(parser.parse_args())
        for kind in names.ITEMS:
            if kind in given:
                checked(kind, given[kind])
        with redirect_stdout(cast(TextIO, Terminal(sys.stdout))):
            stage(**given)


def checked(kind: str, name: str) -> None:
    """Raises UserError for what can be no name, see `names.check`."""
    try:
        names.check(kind, name)
    except ValueError as error:
        raise UserError(str(error)) from None


def run_child(main: Callable[..., None]) -> None:
    """Run `main`, in a process that a stage has started, with the command line's arguments."""
    leave_ctrl_c_to_the_parent()
    with one_line(module_of(main)):
        main(*sys.argv[1:])


def module_of(function: Callable[..., None]) -> str:
    name: str = inspect.getmodule(function).__spec__.name  # type: ignore[union-attr]
    return name.removesuffix(".__main__")


class OneLineParser(argparse.ArgumentParser):
    """Whose errors are a line as any other."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        usage = " ".join(self.format_usage().removeprefix("usage: ").split())
        raise UserError(f"{message}; as in '{usage}'")


@contextmanager
def one_line(name: str) -> Iterator[None]:
    """The boundary: what is raised in the block becomes one line on stderr and an exit code.

    2: bad input, a place or disk that cannot be used, an output that nobody takes; 130: Ctrl-C;
    143: SIGTERM. Anything else is a fault of this project: 1, its traceback, and where to report
    it.

    Args:
        name: of the module that runs.
    """
    for stream in (sys.stdout, sys.stderr):  # in a terminal that lacks a character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        if sys.stdout:
            sys.stdout.flush()
    except SystemExit as code:
        refused_output(code)  # whatever it was, the code says it
        raise
    except UserError as error:
        fail(name, str(error))
    except KeyboardInterrupt:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one adds nothing
        wait_for_children()
        signal.signal(signal.SIGINT, before)
        fail(name, "stopped by Ctrl-C; nothing is half written, run again to go on", INTERRUPTED)
    except Ended as ended:
        wait_for_children()
        fail(name, f"ended by {ended}; nothing is half written, run again to go on", ended.code)
    except Exception as error:
        if reason := refused_output(error):
            fail(name, reason)
        if reason := of_the_machine(error):
            fail(name, reason)
        say(cleaned(traceback.format_exc()))
        fail(name, f"this is a fault of the project, not yours: {whom_to_tell()}", OUR_FAULT)


def add_option(parser: argparse.ArgumentParser, parameter: inspect.Parameter) -> None:
    """`--name value`, or of a truth value `--name` alone."""
    option = f"--{parameter.name.replace('_', '-')}"
    if parameter.default is False:
        parser.add_argument(option, action="store_true")
    elif parameter.default is parameter.empty:
        parser.add_argument(option, required=True)
    else:
        parser.add_argument(option, default=parameter.default)


def fail(stage: str, message: str, code: int = BAD_INPUT) -> NoReturn:
    said = on_terminal(" ".join(cleaned(message).split()))
    say(f"{stage.removeprefix('stages.')}: {said}\n")
    raise SystemExit(code)


def say(text: str) -> None:
    with suppress(OSError):  # nobody may be listening any more
        if sys.stderr:
            sys.stderr.write(text)
            sys.stderr.flush()


def refused_output(error: BaseException) -> str:
    """Why stdout takes no more, where that was it; what it still should take is dropped."""
    refused: BaseException | None = error if isinstance(error, BrokenPipeError) else None
    try:
        if sys.stdout:
            if is_of_no_file(error):  # what was not taken is gone: only a new line can tell
                sys.stdout.write("\n")
            sys.stdout.flush()
    except OSError as again:
        refused = again
    if refused is None:
        return ""
    with suppress(OSError, ValueError):  # else Python tries once more at its end, and says so
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(refused, BrokenPipeError):
        return "what reads the output has closed it, as '| head' does; write it to a file instead"
    return f"the output cannot be written ({os.strerror(getattr(refused, 'errno', 0) or 0)})"


def is_of_no_file(error: BaseException) -> bool:
    """Whether a disk is full of which nobody noted the name: it may be that of the output."""
    named = getattr(error, "filename", None) or getattr(error, "disk", None)
    return isinstance(error, OSError) and bool(why_full(error)) and not named


def whom_to_tell() -> str:
    """Where this was cloned from, or was made for."""
    asked: Any = None
    with suppress(OSError):
        command = ["git", "-C", os.path.dirname(__file__), "remote", "get-url", "origin"]
        asked = subprocess.run(command, capture_output=True, text=True)
    address = asked.stdout.strip() if asked and not asked.returncode else ""
    if re.match(r"(https?|ssh)://|[\w.-]+@[\w.-]+:", address):
        page = re.sub(r"^(ssh://)?[\w.-]+@([\w.-]+)[:/](\d+/)?", r"https://\2/", address)
        return f"report it with the lines above at {page.removesuffix('.git')}/issues"
    return "report it with the lines above to those who gave it to you"


def in_short(error: BaseException) -> str:
    """A library's exception in one line: its kind, and the first line of what it says."""
    plain = COLOURS.sub("", str(error))
    said = next((line.strip() for line in plain.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__
