"""What others wrote is put into a page, a sheet or a terminal as text, and comes back as it was."""

import contextlib
import html
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt

from stages.dataset.task import Task
from stages.evaluate import write_table
from stages.plumbing.command import fail
from stages.plumbing.terminal import Terminal, on_terminal
from stages.reporting.comparison_page import class_cells, renumbered, unrecognized
from stages.reporting.escaping import (
    MARKDOWN,
    PLAIN,
    from_sheet,
    in_code,
    in_markdown,
    in_sheet,
    in_yaml,
)
from stages.reporting.markdown_table import pipe_table
from stages.reporting.predictions import pieces

EVIL = [
    "<script>alert(1)</script>",
    "a|b",
    "**bold** _it_ `code`",
    "![x](http://example.org/x.png)",
    "\\|",
    "&lt;",
    "$x$",
    "two\nlines",
]


@pytest.mark.parametrize("text", EVIL)
def test_markdown_shows_the_text_itself(text: str) -> None:
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = reader.render(f"before {in_markdown(text)} after")
    inner = page.removeprefix("<p>before ").removesuffix(" after</p>\n")
    assert html.unescape(inner) == " ".join(text.split())
    assert "<" not in inner


@pytest.mark.parametrize("text", ["weighted_f1", "not_equivalent", "C#", "很好", "4.5 stars"])
def test_usual_names_stay_as_they_are(text: str) -> None:
    assert in_markdown(text) == text


def test_nobody_is_called_in_a_comment() -> None:
    assert in_markdown("@team, a@b.org") == "`@`team, a`@`b.org"


def test_a_class_stays_in_its_cell() -> None:
    row = {"class": "a|b\n<b>", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 3}
    lines = pipe_table(class_cells(pd.DataFrame([row]))).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| a\\|b \\<b\\> |")


def test_sentences_name_classes_as_text() -> None:
    lost = pd.DataFrame([{"class": "**x**", "f1": 0.0, "support": 2}])
    assert unrecognized("int8", lost, MARKDOWN) == [
        r"**int8 recognizes no text of class '\*\*x\*\*'** (2 of validation)."
    ]
    assert unrecognized("int8", lost, PLAIN) == [
        "int8 recognizes no text of class '**x**' (2 of validation)."
    ]
    task = Task(name="own", text_columns=("text",), labels=("b", "a, c"), metrics=("accuracy",),
                licence="", description="")  # fmt: skip
    assert "there 0 = a, c, 1 = b; here 0 = b, 1 = a, c." in renumbered(task, ("a, c", "b"), PLAIN)


@pytest.mark.parametrize(
    ("text", "span"),
    [("a/b", "`a/b`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a``b`", "``` a``b` ```")],
)
def test_code_holds_backticks(text: str, span: str) -> None:
    assert in_code(text) == span


@pytest.mark.parametrize(
    "text",
    ["org/name-1.0", "yes", "1.0", "a: b", "x # y", '"', "- a", "{a}", "two\nlines", "", "é"],
)
def test_yaml_gives_back_the_text(text: str) -> None:
    assert yaml.safe_load(f"key: {in_yaml(text)}\n") == {"key": text}
    assert in_yaml(text).count("\n") == 0


FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "\t=1", "＝1", "'=1", "'", "=cmd"]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_is_a_formula_and_each_comes_back(text: str) -> None:
    assert in_sheet(text) == f"'{text}"
    assert from_sheet(in_sheet(text)) == text


@pytest.mark.parametrize("text", ["5", "-5", "+5.25", "a=b", "row 3", "", "O'Neill"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert in_sheet(text) == text == from_sheet(text)


def test_predictions_come_back_from_the_file_that_a_person_may_open(tmp_path: Path) -> None:
    ids = [*FORMULAS, "007", "NA", "a,b", "-5", "two\nlines"]
    rows = pd.DataFrame({"id": ids, "label": [0] * len(ids)})
    logits = np.zeros((len(ids), 2), np.float32)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        write_table("validation", rows, logits, file)
    assert [each for piece in pieces(tmp_path / "a.csv") for each in piece["id"]] == ids
    cells = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)["id"]
    assert not [cell for cell in cells if cell[:1] in tuple("=+@\t")]


CONTROL = ["\x1b[31mred", "\x1b]0;title\x07", "a\rb", "\x9b31m", "\u202egnp.exe", "\x00", "\x7f"]


@pytest.mark.parametrize("text", CONTROL)
def test_a_terminal_gets_no_character_that_it_obeys(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert on_terminal(text).isprintable()
    with pytest.raises(SystemExit):
        fail("stages.finetune", f"label '{text}'\nis unknown")
    assert capsys.readouterr().err.rstrip("\n").isprintable()
    caught = io.StringIO()
    with contextlib.redirect_stdout(Terminal(caught)):
        print(f"class {text}")
        sys.stdout.flush()
    assert caught.getvalue().rstrip("\n").isprintable()


def test_a_terminal_gets_all_other_characters() -> None:
    assert on_terminal("很好, é,\ttab\nline 🙂") == "很好, é,\ttab\nline 🙂"
