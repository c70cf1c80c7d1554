"""What others wrote (class names, texts, paths, a library's message), for the form it is put into.

One function for each form. HTML's is the page's template, which escapes all that it is given; a
terminal's is in stages/plumbing/terminal.py.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from stages.plumbing.terminal import on_terminal

# An underscore within a word is one in GitHub's Markdown too.
MARKS = re.compile(r"[\\`*\[\]<>|~$]|&(?=[#\w])|(?<![^\W_])_|_(?![^\W_])")
# A spreadsheet takes such a cell for a formula; the apostrophe is the sign that it is none.
FORMULA = tuple("=+-@\t\r＝＋－＠'")
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
ONE_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")  # in YAML
WORDS_OF_YAML = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


def in_markdown(text: str) -> str:
    """Plain text within a line or a table's cell; an `@` calls nobody."""
    escaped = MARKS.sub(lambda found: f"\\{found[0]}", on_terminal(" ".join(text.split())))
    return re.sub(r"@(?=\w)", "`@`", escaped)


class Form(NamedTuple):
    """How a sentence of ours that names what others wrote is put down."""

    text: Callable[[str], str]
    bold: Callable[[str], str]


MARKDOWN = Form(in_markdown, "**{}**".format)
PLAIN = Form(str, str)  # for a template that escapes


def in_code(text: str) -> str:
    """A span of code in Markdown's text, whatever backticks are in it."""
    line = on_terminal(" ".join(text.split()))
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    room = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{room}{line}{room}{fence}"


def in_yaml(text: str) -> str:
    """A value in a line of YAML."""
    is_plain = ONE_WORD.fullmatch(text) and text.lower() not in WORDS_OF_YAML
    return text if is_plain else json.dumps(text)


def in_sheet(text: str) -> str:
    """A cell of CSV that a person opens; `from_sheet` gives back the text."""
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def from_sheet(cell: str) -> str:
    return cell.removeprefix("'")
