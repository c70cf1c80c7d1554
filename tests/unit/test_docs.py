"""README.md and docs/: generated tables are up to date, links and paths lead somewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from stages import tasks, variants
from stages.commands.preset import preset
from stages.commands.write_tables import TABLES, write_tables
from stages.plumbing.command import UserError
from stages.settings.params import load_params

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PIPELINE: dict[str, dict] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Folders of which each file is in git, and those that stages write into.
SOURCES = ("stages", "docs", "tests", "bench", "presets")
OUTPUTS = ("data", "models", "metrics", "reports", "exports")
# Page, table, the committed figures that it is made from, where in that file one of them is.
MADE_FROM = [
    ("README.md", "quick", "metrics/mrpc/compare/int8_fast.json", ["size_mb"]),
    ("docs/evidence.md", "comparison", "docs/evidence/full/metrics/mrpc/compare/fp32.json",
     ["p90_ms"]),
    ("docs/evidence.md", "seeds_on_validation",
     "docs/evidence/full/metrics/mrpc/accuracy/seed_43/int8_onnx.json", ["validation", "f1"]),
    ("docs/evidence.md", "seeds_on_test",
     "docs/evidence/full/metrics/mrpc/accuracy/seed_44/int8_onnx.json", ["test", "f1"]),
    ("docs/evidence.md", "cost", "docs/evidence/full/metrics/mrpc/compare/fp32.json",
     ["throughput_per_s"]),
    ("docs/evidence.md", "like_published",
     "docs/evidence/full/metrics/mrpc/compare/int8_qat.json", ["speedup_p50"]),
    ("docs/race.md", "race", "bench/results.json", ["runners", 0, "size_mb"]),
    ("docs/race.md", "reruns", "bench/reruns.json", [0, "mrpc_vs_best_peer_x"]),
    ("docs/ibert.md", "integers", "bench/integers.json", ["targets", 0, "measured"]),
    ("docs/ibert.md", "bits", "bench/bits.json", ["splits", "validation", "texts"]),
    ("docs/other_tools.md", "other_tools", "docs/evidence/three_tools.json", ["model", "texts"]),
]  # fmt: skip


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pages and committed results, to be altered."""
    for name in ("docs", "metrics"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "bench").mkdir()
    measured = ("results", "reruns", "integers", "bits")
    for name in ("README.md", "params.yaml", *(f"bench/{one}.json" for one in measured)):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def alter(file: Path, keys: list) -> None:
    """Change one figure so much that any rounding shows it."""
    found = json.loads(file.read_text())
    part = found
    for key in keys[:-1]:
        part = part[key]
    part[keys[-1]] = 2 * part[keys[-1]] + 1
    file.write_text(json.dumps(found))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them from the headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def paths_in(page: Path) -> set[str]:
    """What reads as a path of this repository: in backticks, or in a block of plain text."""
    text = page.read_text()
    found = re.findall(r"`([^`\s]+)`", without_code(text))
    for block in re.findall(r"^```text$(.*?)^```$", text, re.M | re.S):
        found += re.findall(r"[\w.]+/\S*", block)
    found = [one.rstrip(",.:;)") for one in found]
    roots = (*SOURCES, *OUTPUTS)
    return {one for one in found if one.split("/")[0] in roots and "/" in one}


def exists(path: str) -> bool:
    """A file of git, or what a stage writes; `<task>` stands for any name."""
    pattern = re.sub(r"<\w+>", "*", path).rstrip("/")
    if path.split("/")[0] in SOURCES:
        return any(ROOT.glob(pattern))
    return any(agree(pattern.split("/"), out.split("/")) for out in outputs())


def agree(one: list[str], other: list[str]) -> bool:
    """Whether one of two patterns lies within the other."""
    pairs = list(zip(one, other, strict=False))
    return all(fnmatch(a, b) or fnmatch(b, a) for a, b in pairs)


def outputs() -> list[str]:
    """Of all stages, with `*` for the items of a matrix."""
    found = []
    for stage in PIPELINE.values():
        for entry in (*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])):
            name = entry if isinstance(entry, str) else next(iter(entry))
            found.append(re.sub(r"\$\{[^}]+\}", "*", name))
    return found


def test_every_table_is_what_the_committed_results_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    write_tables(check=True)


@pytest.mark.parametrize(("page", "table", "source", "keys"), MADE_FROM)
def test_a_table_that_differs_from_the_results_is_found_and_renewed(
    copied: Path, page: str, table: str, source: str, keys: list
) -> None:
    alter(copied / source, keys)
    if table not in ("quick", "comparison", "race"):  # an earlier one of the page may differ too
        page_text = (copied / page).read_text()
        only = re.findall(rf"^<!-- table: {table} .*?^<!-- end -->$", page_text, re.M | re.S)
        (copied / page).write_text("\n".join(only))
    with pytest.raises(UserError, match=rf"^{page}: table '{table}' differs .*'make tables'$"):
        write_tables(check=True)
    write_tables(check=False)
    write_tables(check=True)


def test_the_check_ends_with_2_and_one_line_and_writes_nothing(copied: Path) -> None:
    page = copied / "README.md"
    page.write_text(page.read_text().replace("| fp32 ", "| fp64 ", 1))
    before = page.read_text()
    done = subprocess.run(
        [sys.executable, "-m", "stages.commands.write_tables", "--check"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "commands.write_tables: README.md: table 'quick' differs from metrics/mrpc; "
        "run 'make tables'\n"
    )
    assert page.read_text() == before


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("<!-- table: quikc metrics/mrpc -->\n<!-- end -->\n", "did you mean 'quick'"),
        ("<!-- table: quick metrics/none -->\n<!-- end -->\n", "metrics/none, which does not"),
        ("<!-- table: quick metrics/mrpc -->\n", "not every"),
    ],
)
def test_a_marker_that_leads_nowhere_is_an_error(copied: Path, marker: str, message: str) -> None:
    with (copied / "docs/data.md").open("a") as page:
        page.write(f"\n{marker}")
    with pytest.raises(UserError, match=rf"^docs/data.md: .*{message}"):
        write_tables(check=False)


def test_a_variant_without_results_has_no_row(copied: Path) -> None:
    (copied / "metrics/mrpc/compare/int8_onnx.json").unlink()
    assert "int8_onnx" not in TABLES["quick"](Path("metrics/mrpc"))


def test_the_table_of_glue_has_each_task_beside_what_was_published() -> None:
    header, _, *rows = TABLES["glue"](ROOT / "metrics").splitlines()
    columns = [cell.strip() for cell in header.strip("|").split("|")]
    (mrpc,) = (
        dict(zip(columns, (cell.strip() for cell in row.strip("|").split("|")), strict=True))
        for row in rows
    )
    committed = json.loads((ROOT / "metrics/mrpc/compare/int8_fast.json").read_text())
    assert (mrpc["task"], mrpc["BERT-base, published"]) == ("mrpc", "88.85/84.07")
    assert mrpc["int8_fast"] == f"{100 * committed['f1']:.2f}/{100 * committed['accuracy']:.2f}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    of_the_reader = {"presets/my_reviews.yaml"}
    named = sorted(paths_in(page) - of_the_reader)
    assert [path for path in named if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    presets = {f"preset-{file.stem}" for file in (ROOT / "presets").glob("*.yaml")}
    known = (
        set(re.findall(r"^([\w-]+):", makefile, re.M)) | presets | {"preset-", "preset-my_reviews"}
    )
    assert set(re.findall(r"\bmake ([a-z][\w-]*)", commands_in(page))) - known == set()


def commands_in(page: Path) -> str:
    """What stands in backticks or in a block of commands."""
    text = page.read_text()
    blocks = re.findall(r"^```bash$(.*?)^```$", text, re.M | re.S)
    blocks = [re.sub(r"#.*", "", block) for block in blocks]
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", without_code(text))])


def test_every_stage_is_in_the_readme_and_in_the_picture() -> None:
    readme = (ROOT / "README.md").read_text()
    picture = ElementTree.parse(ROOT / "docs/dag.svg").iter("{http://www.w3.org/2000/svg}text")
    drawn = {text.text for text in picture}
    for stage in PIPELINE:
        assert f"| `{stage}` |" in readme
        assert stage in drawn


def test_every_variant_task_and_preset_is_in_its_page() -> None:
    pages = {
        "variants.md": variants.names(),
        "data.md": tasks.names(),
        "how_to.md": [file.stem for file in (ROOT / "presets").glob("*.yaml")],
    }
    for page, names in pages.items():
        text = (ROOT / "docs" / page).read_text()
        assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", ["README.md", "docs/data.md"])
def test_the_examples_of_a_file_of_your_own_run_as_written(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block of YAML is saved as a preset and written into params.yaml, as the page says."""
    examples = re.findall(r"^```yaml$(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    assert examples
    monkeypatch.chdir(tmp_path)
    Path("presets").mkdir()
    for example in examples:
        Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
        Path("presets/my_reviews.yaml").write_text(example)
        preset("my_reviews")
        params = load_params()
        assert params.tasks == ["my_reviews"]
        assert params.dataset("my_reviews").task.metrics[0] == "weighted_f1"
