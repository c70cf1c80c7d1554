"""Damaged GLUE files: each is refused with its name and line."""

from pathlib import Path

import pytest

from stages.plumbing.command import UserError
from tests.glue_files import FOLDERS, GLUE, write_mirror
from tests.unit.test_glue import fetch


def file_of(mirror: Path, task: str, name: str) -> Path:
    return mirror / FOLDERS.get(task, task.upper()) / name


@pytest.mark.parametrize("task", GLUE)
def test_a_line_with_too_many_cells_is_named(tmp_path: Path, task: str) -> None:
    path = file_of(write_mirror(tmp_path, task), task, "train.tsv")
    lines = path.read_bytes().split(b"\n")
    lines[2] += b"\tx"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"train\.tsv line 3 has \d+ tab-separated cells instead"):
        fetch(tmp_path, task)


@pytest.mark.parametrize("task", [task for task in GLUE if task != "qqp"])
def test_a_file_that_is_cut_off_within_a_line_is_named(tmp_path: Path, task: str) -> None:
    mirror = write_mirror(tmp_path, task)
    name = "test_matched.tsv" if task == "mnli" else "test.tsv"
    path = file_of(mirror, task, name)
    path.write_bytes(path.read_bytes().rpartition(b"\t")[0])
    number = path.read_bytes().count(b"\n") + 1
    with pytest.raises(UserError, match=rf"{name} line {number} has \d+ tab-separated cells"):
        fetch(mirror, task)


@pytest.mark.parametrize(
    ("task", "label", "expected"),
    [
        ("cola", "2", r"dev\.tsv line 1: label '2' is outside.*0 \(unacceptable\), 1 \(acceptable"),
        ("sst2", "", r"dev\.tsv line 2: label '' is outside.*0 \(negative\), 1 \(positive\)"),
        ("stsb", "5.001", r"dev\.tsv line 2: label '5\.001'.*a number from 0 to 5"),
        ("stsb", "nan", r"dev\.tsv line 2: label 'nan'.*a number from 0 to 5"),
        ("stsb", "high", r"dev\.tsv line 2: label 'high'.*a number from 0 to 5"),
        ("qqp", "yes", r"dev\.tsv line 2: label 'yes'.*1 \(duplicate\)"),
        ("mnli", "hidden", r"dev_mismatched\.tsv line 2: label 'hidden'.*2 \(contradiction\)"),
        ("qnli", "neutral", r"dev\.tsv line 2: label 'neutral'.*0 \(entailment\)"),
        ("rte", "Entailment", r"dev\.tsv line 2: label 'Entailment'.*0 \(entailment\)"),
        ("wnli", "-1", r"dev\.tsv line 2: label '-1'.*0 \(not entailment\), 1 \(entailment\)"),
    ],
)
def test_a_label_outside_the_range_is_named(
    tmp_path: Path, task: str, label: str, expected: str
) -> None:
    mirror = write_mirror(tmp_path, task)
    path = file_of(mirror, task, "dev_mismatched.tsv" if task == "mnli" else "dev.tsv")
    lines = path.read_text(encoding="utf-8").split("\n")
    row = 0 if task == "cola" else 1
    cells = lines[row].split("\t")
    cells[1 if task == "cola" else -1] = label
    lines[row] = "\t".join(cells)
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=expected):
        fetch(mirror, task)


def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path: Path) -> None:
    path = file_of(write_mirror(tmp_path, "rte"), "rte", "train.tsv")
    lines = path.read_bytes().split(b"\n")
    lines[4] = lines[4].replace(b" ", b"\xff", 1)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(UserError, match=r"train\.tsv line 5 is not UTF-8"):
        fetch(tmp_path, "rte")


@pytest.mark.parametrize(
    "content", ["", "index\tfirst\tsecond\tlabel\n", "index\tsentence1\tsentence2\n"]
)
def test_a_wrong_header_is_shown_beside_the_right_one(tmp_path: Path, content: str) -> None:
    file_of(write_mirror(tmp_path, "rte"), "rte", "train.tsv").write_text(content)
    with pytest.raises(UserError, match=r"train\.tsv starts with .* instead of .*'sentence1', 'se"):
        fetch(tmp_path, "rte")


def test_a_folder_without_the_files_lists_what_it_expected_and_what_it_holds(
    tmp_path: Path,
) -> None:
    file_of(write_mirror(tmp_path, "qnli"), "qnli", "train.tsv").unlink()
    with pytest.raises(UserError, match=r"expected train\.tsv, dev\.tsv, test\.tsv.*'dev\.tsv'"):
        fetch(tmp_path, "qnli")
