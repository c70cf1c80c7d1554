"""MRPC from every source, in every layout, with the traps that real files have."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from stages import tasks
from stages.dataset.dataset import UNLABELLED
from stages.download_glue import rendition
from stages.plumbing.command import UserError
from tests.conftest import HEADER, PUBLISHED, mrpc_lines, write_raw_corpus, write_tutorial_layout
from tests.glue_files import tables

MRPC = tasks.dataset("mrpc", {})


def settings(folder: Path | str, counts: str = "published") -> SimpleNamespace:
    return SimpleNamespace(sources=["mirror"], mirror=str(folder), counts=counts)


def from_mirror(folder: Path) -> dict[str, pd.DataFrame]:
    return tables(MRPC.fetch(settings(folder)))


def check(folder: Path, counts: str = "published") -> None:
    """As the stage does."""
    MRPC.check(from_mirror(folder), settings(folder, counts))


def counts(rows: pd.DataFrame) -> tuple[int, int]:
    return int((rows["label"] == 0).sum()), int((rows["label"] == 1).sum())


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_raw_corpus_splits_by_the_development_ids(tmp_path: Path, newline: str, bom: str) -> None:
    splits = from_mirror(write_raw_corpus(tmp_path / "MRPC", newline, bom).parent)
    assert {name: counts(rows) for name, rows in splits.items()} == PUBLISHED
    original = {line.split("\t")[3] for lines in mrpc_lines().values() for line in lines}
    found = {text for rows in splits.values() for text in rows["sentence1"]}
    assert found == original  # unbalanced quotes and all, and no carriage return left


def test_tutorial_layout_has_a_test_split_without_labels(tmp_path: Path) -> None:
    splits = from_mirror(write_tutorial_layout(tmp_path / "MRPC").parent)
    assert counts(splits["train"]) == PUBLISHED["train"]
    assert counts(splits["validation"]) == PUBLISHED["validation"]
    assert set(splits["test"]["label"]) == {UNLABELLED}
    check(tmp_path)


def test_both_layouts_give_the_same_rows(tmp_path: Path) -> None:
    raw = from_mirror(write_raw_corpus(tmp_path / "raw"))["validation"]
    tutorial = from_mirror(write_tutorial_layout(tmp_path / "tutorial"))["validation"]
    assert raw.sort_values("id").values.tolist() == tutorial.sort_values("id").values.tolist()


def test_rendition_tells_tokenized_text_from_the_original(tmp_path: Path) -> None:
    def of(text: str) -> str:
        pd.DataFrame({"sentence1": [text] * 5}).to_parquet(tmp_path / "train.parquet")
        return rendition(tmp_path / "train.parquet", MRPC.task)

    assert of('Referring to him as only " the witness " , Amrozi accused his brother .') == (
        "tokenized"
    )
    assert of('Referring to him as only "the witness", Amrozi accused his brother.') == "original"


def test_checksums_are_recorded_and_no_path_is(tmp_path: Path) -> None:
    fetched = MRPC.fetch(settings(write_raw_corpus(tmp_path / "MRPC")))
    assert set(fetched.sha256) == {
        "msr_paraphrase_train.txt",
        "msr_paraphrase_test.txt",
        "dev_ids.tsv",
    }
    assert fetched.source == "mirror"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2\t1\t2\ta b\tc d", "label '2' is outside the task's range"),
        ("1\t1\t2\ta b", "has 4 tab-separated cells instead of 5"),
        ("\t1\t2\ta b\tc d", "label '' is outside the task's range"),
    ],
)
def test_a_damaged_row_is_named_by_file_and_line(tmp_path: Path, line: str, expected: str) -> None:
    folder = write_raw_corpus(tmp_path / "MRPC")
    with (folder / "msr_paraphrase_train.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"msr_paraphrase_train\.txt") as error:
        from_mirror(folder)
    assert expected in str(error.value)


def test_a_file_cut_off_between_lines_is_noticed_by_its_counts(tmp_path: Path) -> None:
    folder = write_raw_corpus(tmp_path / "MRPC")
    path = folder / "msr_paraphrase_train.txt"
    path.write_text("\n".join(path.read_text().split("\n")[:2000]))
    with pytest.raises(UserError, match="another version or was cut off"):
        check(folder)


def test_an_empty_file_and_a_split_of_one_class_are_refused(tmp_path: Path) -> None:
    folder = write_tutorial_layout(tmp_path / "MRPC")
    (folder / "dev.tsv").write_text(HEADER + "\n")
    with pytest.raises(UserError, match="mrpc/validation has no rows"):
        check(folder, counts="any")
    (folder / "dev.tsv").write_text(HEADER + "\n1\t1\t2\ta\tb\n")
    with pytest.raises(UserError, match="one class only \\('equivalent'\\)"):
        check(folder, counts="any")
    (folder / "dev.tsv").write_text("")
    with pytest.raises(UserError, match=r"dev\.tsv starts with"):
        from_mirror(folder)


def test_a_label_outside_the_range_is_refused_whatever_the_source() -> None:
    rows = pd.DataFrame({"id": ["a", "b"], "label": [0, 2]})
    with pytest.raises(UserError, match="label 2, outside the task's range 0 to 1"):
        MRPC.check({"train": rows}, settings("", "any"))


def test_a_missing_mirror_says_so_and_is_not_passed_over(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the mirror folder '.*nowhere' does not exist"):
        from_mirror(tmp_path / "nowhere")


def test_a_mirror_without_the_task_lists_what_it_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither layout found; expected msr_paraphrase_train"):
        from_mirror(tmp_path)


def test_an_unset_mirror_is_passed_over_and_the_ways_out_are_named() -> None:
    with pytest.raises(UserError) as error:
        MRPC.fetch(settings(""))
    for way_out in ("GLUE_MIRROR", "hub or the official site", "tasks: [movie_reviews]"):
        assert way_out in str(error.value)
