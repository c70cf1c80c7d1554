"""The page of a task, reports/<task>/index.html: as compare writes it and a browser shows it."""

import json
import re
import shutil
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench.other_tools import pipeline
from stages.measure.accuracy import answers
from stages.plumbing.manifest import write_checksums
from tests.pipeline.conftest import Repo

INT8 = "int8_dynamic"
EVIL = "<script>alert(\"x\")</script> & <b onclick='y'>"
CHANGED = {"1": 9.0, "2": 7.0, "5": 8.0}  # row of validation -> how far its logits move
PHONE, DESK = 390, 1280


def change_answers(repo: Repo) -> pd.DataFrame:
    """In the stored predictions of INT8; returns its rows of validation, before."""
    path = repo.folder / f"reports/mrpc/predictions/seed_42/{INT8}.csv"
    fp32 = pd.read_csv(path.with_stem("fp32"), dtype={"id": str})
    table = fp32.copy()
    rows = table.index[table["split"] == "validation"]
    for number, far in CHANGED.items():
        row = rows[int(number)]
        given = int(table.loc[row, "predicted"])
        table.loc[row, f"logit_{1 - given}"] = table.loc[row, f"logit_{given}"] + far
    table["predicted"] = answers(table[["logit_0", "logit_1"]].to_numpy())
    table.to_csv(path, index=False)
    repo.note_predictions("mrpc", 42, INT8)
    return fp32.loc[rows].reset_index(drop=True)


@pytest.fixture(scope="module")
def changed(finished: Repo, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Compared anew after three answers were changed and a text became one that attacks."""
    repo = finished.copy(tmp_path_factory.mktemp("page") / "project")
    path = repo.folder / "data/mrpc/validation.parquet"
    rows = pd.read_parquet(path)
    rows.loc[1, "sentence1"] = EVIL
    rows.loc[2, "sentence2"] = "endless " * 200_000
    rows.to_parquet(path)
    write_checksums(path.parent)
    change_answers(repo)
    repo.stage("compare", "mrpc")
    return repo


@pytest.fixture(scope="module")
def html(changed: Repo) -> str:
    return (changed.folder / "reports/mrpc/index.html").read_text()


def test_it_begins_with_what_ships_and_why(html: str, changed: Repo) -> None:
    page = (changed.folder / "reports/mrpc/compare.md").read_text()
    ships, reason = re.findall(r"`export.variant: auto` ships (\w+): (.+)\.\n", page)[0]
    assert f"<h1><code>{ships}</code> ships</h1>" in html
    assert f'<p class="reason">{reason[0].upper()}{reason[1:]}.</p>' in html


def test_it_loads_nothing_and_stays_small_however_long_the_texts_are(html: str) -> None:
    outside = re.findall(r'(?:src|href|srcset|data)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)', html)
    assert outside == []
    assert "default-src 'none'" in html
    assert len(html.encode()) < 3_000_000


def test_what_comes_from_outside_is_escaped(html: str) -> None:
    assert html.count("<script") == 1  # our own
    assert (
        "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; &lt;b onclick=&#39;y&#39;&gt;"
        in html
    )


def test_changed_texts_stand_with_both_probabilities_and_the_label(
    html: str, changed: Repo
) -> None:
    tables = pd.read_html(StringIO(html), attrs={"class": "texts"})
    table = next(table for table in tables if INT8 in table)
    assert len(table) == len(CHANGED)
    rows = pd.read_parquet(changed.folder / "data/mrpc/validation.parquet")
    # The one that moved farthest is first.
    assert rows["id"][1] in table["text"][0]
    names = json.loads((changed.folder / "data/mrpc/task.json").read_text())["labels"]
    for line, number in zip(table.to_dict("records"), (1, 5, 2), strict=True):
        assert line["label"] == names[rows["label"][number]]
        before, after = (str(line[column]).split() for column in ("fp32", INT8))
        assert {before[0], after[0]} == set(names)
        assert 50 <= float(before[1]) <= 100
        assert 99 <= float(after[1]) <= 100
        right = names[rows["label"][number]]
        assert line["change"] == ("worse" if before[0] == right else "better")
    assert (INT8, "3 of 408 answers change") in pipeline.CHANGED.findall(html)


def test_each_variant_but_the_reference_has_its_own_list(html: str) -> None:
    assert {name for name, _ in pipeline.CHANGED.findall(html)} == {INT8, "int8_mixed"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, which the operating system brings."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here; install Debian's package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


class Shown:
    """The page in a window, and what the browser said of it."""

    def __init__(self, browser: Any, file: Path, width: int, scheme: str) -> None:
        self.said: list[str] = []
        self.window = browser.new_page(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        self.window.on("console", lambda message: self.said.append(message.text))
        self.window.on("pageerror", lambda error: self.said.append(str(error)))
        self.window.on("request", lambda request: self.said.append(request.url))
        self.window.goto(file.as_uri())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_in_a_browser_it_fits_is_readable_and_says_nothing(
    changed: Repo, browser: Any, width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    file = changed.folder / "reports/mrpc/index.html"
    shown = Shown(browser, file, width, scheme)
    shown.window.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert shown.window.evaluate("document.documentElement.scrollWidth") == width
    seen = shown.window.locator("figure svg:visible").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width)"
    )
    assert seen
    assert all(0 < wide <= width for wide in seen)
    found = Axe().run(shown.window)  # contrast, names, roles, order: WCAG 2 AA and more
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []
    assert shown.said == [file.as_uri()]
    shown.window.close()


def test_a_term_is_explained_by_keyboard(changed: Repo, browser: Any) -> None:
    shown = Shown(browser, changed.folder / "reports/mrpc/index.html", DESK, "light")
    tip = shown.window.locator(".tip", has_text="fp32's p90 divided by this one's").first
    assert not tip.is_visible()
    for _ in range(30):
        shown.window.keyboard.press("Tab")
        if tip.is_visible():
            break
    assert tip.is_visible()
    shown.window.close()


def test_searching_leaves_the_texts_that_match(changed: Repo, browser: Any) -> None:
    shown = Shown(browser, changed.folder / "reports/mrpc/index.html", DESK, "light")
    shown.window.get_by_label("Search in texts").fill("ALERT(")
    assert shown.window.locator(".texts tbody tr:visible").count() == 1
    assert shown.window.locator("#found").inner_text().startswith("1 of ")
    group = shown.window.locator(".group", has_text=f"{INT8}: 3 of 408")
    assert "1 of those shown match" in group.inner_text()
    shown.window.get_by_label("Search in texts").fill("")
    assert shown.window.locator(".texts tbody tr:visible").count() == len(CHANGED)
    shown.window.close()


def test_the_plots_of_dvc_can_be_had_in_a_page_that_loads_nothing(
    changed: Repo, browser: Any
) -> None:
    changed.run("python", "-m", "stages.commands.plots")
    file = changed.folder / "dvc_plots/index.html"
    shown = Shown(browser, file, DESK, "light")
    shown.window.locator("canvas, svg").nth(4).wait_for()
    assert [one for one in shown.said if re.match("https?:", one)] == []
    assert shown.said[0] == file.as_uri()
    shown.window.close()
