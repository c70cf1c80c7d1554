"""`make check`: columns are found or asked for, settings written, nothing changed by a refusal."""

import shutil
from pathlib import Path

import pytest
import yaml

from stages.commands import check as command
from stages.commands.check import check, task_name
from stages.commands.progress import Speed, expected, in_words, left
from stages.plumbing.command import UserError
from stages.plumbing.names import check as check_name
from stages.settings.params import load_params
from stages.sources.own_file.columns import Columns, find, has_no_names
from stages.sources.own_file.delimited import Dialect
from stages.sources.own_file.table import Table
from tests.own_file import written
from tests.unit.conftest import OnCpu

ROOT = Path(__file__).parents[2]
HEADERS = {
    "review,stars": Columns("review", "", "stars"),
    "id,review,stars": Columns("review", "", "stars"),
    "review,stars,title": Columns("review", "", "stars"),
    "sentence1,sentence2,label": Columns("sentence1", "sentence2", "label"),
}
LONG = [f"a text of some length, number {i}" for i in range(40)]
VALUES = {
    "review": LONG,
    "sentence1": LONG,
    "sentence2": [each.upper() for each in LONG],
    "title": [f"number {i}" for i in range(40)],
    "id": [str(i) for i in range(40)],
    "stars": ["15"[i % 2] for i in range(40)],
    "label": [("good", "bad")[i % 2] for i in range(40)],
    "body": [each[::-1] for each in LONG],
    "shop": ["north", "south"] * 20,
}


def table(folder: Path, header: str, names: bool = True, ending: str = "csv") -> Table:
    separator = {"csv": ",", "tsv": "\t"}[ending]
    names_of = header.split(",")
    quoted = [[f'"{cell}"' for cell in VALUES[name]] for name in names_of]
    lines = [separator.join(cells) for cells in zip(*quoted, strict=True)]
    head = [separator.join(names_of)] if names else []
    path = written(folder / f"own.{ending}", "\n".join([*head, *lines]) + "\n")
    return Table(str(path), "DATA", Dialect("utf-8", "", '"', ""))


@pytest.mark.parametrize("header", HEADERS)
def test_columns_are_found_by_what_stands_in_them(header: str, tmp_path: Path) -> None:
    asked = Columns("", "", "")
    assert find(table(tmp_path, header), asked, regression=False) == HEADERS[header]


@pytest.mark.parametrize(
    ("header", "asked", "message"),
    [
        ("review,body,stars", ("", "", ""), "2 columns .* say TEXT=review or TEXT=body"),
        ("review,stars,shop", ("", "", "x"), "LABEL=x is no column of own.csv; known: review, sh"),
        ("review,shop,stars", ("review", "", "text"), "LABEL=text is no column"),
        ("id,stars", ("", "", ""), r"no column of own.csv looks like the text \(id, stars\)"),
        ("review,id", ("", "", ""), "no column of own.csv looks like the label"),
    ],
)
def test_what_cannot_be_told_is_asked_for(
    header: str, asked: tuple[str, str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        find(table(tmp_path, header), Columns(*asked), regression=False)


def test_a_usual_name_decides_between_two(tmp_path: Path) -> None:
    found = find(table(tmp_path, "review,shop,stars"), Columns("", "", ""), regression=False)
    assert found == Columns("review", "", "stars")
    asked = find(table(tmp_path, "review,shop,stars"), Columns("", "", "shop"), regression=False)
    assert asked.label == "shop"


def test_scores_are_numbers_each_of_its_own(tmp_path: Path) -> None:
    assert find(table(tmp_path, "review,id"), Columns("", "", ""), regression=True).label == "id"


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("header", ["review,label", "review,stars", "label,review"])
def test_a_file_without_a_row_of_names_is_noticed(header: str, ending: str, tmp_path: Path) -> None:
    assert has_no_names(table(tmp_path, header, names=False, ending=ending))
    assert not has_no_names(table(tmp_path, header, names=True, ending=ending))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path) -> Path:
    """A checkout, and a model of the classes 0 and 1 beside it; nothing runs."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "presets").symlink_to(ROOT / "presets")
    (tmp_path / "model").symlink_to(tiny_bert)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "need_git", lambda: None)
    monkeypatch.setattr(command, "run", lambda name, stages: None)
    return tmp_path


def test_the_settings_are_written_and_the_comments_stay(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table(project, "id,review,stars")
    check("./model", "own.csv", budget="0.5", minutes="15")
    params = load_params()
    assert params.tasks == ["own"]
    assert params.csv["own"].model_dump(exclude_defaults=True) == {
        "validation": "own.csv", "text": "review", "label": "stars", "metric": "weighted_f1",
    }  # fmt: skip
    assert params.training("own").checkpoint == "./model"
    assert (params.compare.max_drop_points, params.latency.rounds) == (0.5, 3)
    assert "fp32" in params.quantize
    assert "int8_mixed" not in params.quantize
    assert "# The variants: each key is" in Path("params.yaml").read_text()
    said = capsys.readouterr().out
    assert "own.csv: the text is 'review', the label 'stars'" in said
    assert "git diff params.yaml" in said


def test_a_file_without_names_gets_some(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(project, "label,review", names=False, ending="tsv")
    check("./model", "own.tsv", labels="good, bad")
    own = load_params().csv["own"]
    assert (own.columns, own.text, own.label) == (("label", "text"), "text", "label")
    assert own.labels == {"good": "good", "bad": "bad"}
    assert "its first row reads like the others" in capsys.readouterr().out


def test_nothing_is_left_of_an_earlier_check(project: Path) -> None:
    table(project, "label,review", names=False, ending="tsv")
    check("./model", "own.tsv", labels="good, bad")
    table(project, "review,stars", ending="tsv")
    check("./model", "own.tsv")
    own = load_params().csv["own"]
    assert (own.columns, own.labels, own.text) == ((), {}, "review")


def test_its_name_is_the_files_and_no_built_in_task(project: Path) -> None:
    written(project / "mrpc.csv", table(project, "review,stars").path.read_text())
    written(project / "My File-2.csv", table(project, "review,stars").path.read_text())
    check("./model", "mrpc.csv")
    assert load_params().tasks == ["my_mrpc"]
    check("./model", "My File-2.csv")
    assert load_params().tasks == ["my_file_2"]


@pytest.mark.parametrize("stem", ["$(touch X)", "a__b", "__", "很好", "code", "x" * 200, "mrpc"])
def test_of_whatever_file_it_is_a_name(stem: str) -> None:
    check_name("task", task_name(stem))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": "", "data": ""}, "make check MODEL=<folder or hub id> DATA="),
        ({"model": "./none"}, "the model folder './none' does not exist"),
        ({"data": "none.csv"}, "DATA='none.csv', but .*none.csv does not exist"),
        ({"text": "x"}, "TEXT=x is no column"),
        ({"budget": "few"}, "BUDGET=few is no number from 0 to 100; as in BUDGET=1"),
        ({"budget": "-1"}, "BUDGET=-1 is no number"),
        ({"minutes": "nan"}, "TIME=nan is no number"),
        ({"minutes": "1e9"}, "TIME=1e9 is no number from 0 to 1440"),
        ({"text": "review", "label": "review"}, "name one column twice"),
        ({"delimiter": "ab"}, "DELIMITER=ab: take one character"),
        ({"delimiter": ";", "quote": ";"}, "QUOTE=;: it separates the cells too"),
        ({"encoding": "gkb"}, "ENCODING=gkb: no such encoding"),
    ],
)
def test_a_typo_is_found_before_anything_is_written(
    project: Path, given: dict[str, str], message: str
) -> None:
    table(project, "review,stars")
    before = Path("params.yaml").read_text()
    with pytest.raises(UserError, match=message):
        check(**{"model": "./model", "data": "own.csv"} | given)
    assert Path("params.yaml").read_text() == before


def test_what_cannot_run_here_is_left_out_with_its_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table(project, "review,stars")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    check("./model", "own.csv")
    assert "int8_fast" not in load_params().quantize
    assert "int8_fast is left out: " in capsys.readouterr().out


def test_on_another_kind_of_cpu_only_what_it_has_is_tried(project: Path, on_cpu: OnCpu) -> None:
    table(project, "review,stars")
    on_cpu(machine="aarch64")
    check("./model", "own.csv")
    tried = load_params().quantize
    assert "int8_fast" not in tried
    assert tried["int8_dynamic"] == {"engine": "qnnpack"}


def test_every_stage_has_a_time_and_less_is_left_as_they_end(project: Path) -> None:
    table(project, "review,stars")
    check("./model", "own.csv")
    params = load_params()
    stages = expected(params, 2000, Speed(0.02, 0.01))
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {item.split("@")[0] for item in stages} == set(pipeline)
    assert len([item for item in stages if item.startswith("quantize@own-42-")]) == len(
        params.quantize
    )
    total = sum(stages.values())
    assert left(stages, [], 0.0) == pytest.approx(total)
    half = [item for item in stages if not item.startswith(("latency", "evaluate"))]
    done = sum(stages[item] for item in half)
    assert left(stages, half, done) == pytest.approx(total - done)
    assert left(stages, half, 2 * done) == pytest.approx(2 * (total - done))  # a slower machine
    assert left(stages, stages, 100.0) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "less than half a minute"), (29, "about 0.5 minutes"), (60, "about 1 minute"),
     (250, "about 4 minutes")],
)  # fmt: skip
def test_times_are_rounded(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
