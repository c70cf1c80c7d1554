"""`make report`: opens the page of each task, or says how to get one."""

import webbrowser
from pathlib import Path

import pytest

from stages.commands.report import report
from stages.plumbing.command import UserError
from stages.settings import params


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    text = params.PARAMS_FILE.read_text()
    monkeypatch.chdir(tmp_path)
    params.PARAMS_FILE.write_text(text)
    addresses: list[str] = []
    monkeypatch.setattr(webbrowser, "open", addresses.append)
    return addresses


def test_each_task_is_opened(opened: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    page = Path("reports/mrpc/index.html")
    page.parent.mkdir(parents=True)
    page.touch()
    report()
    assert opened == [page.resolve().as_uri()]
    assert capsys.readouterr().out.strip() == str(page.resolve())


def test_a_page_that_is_not_there_is_said(opened: list[str]) -> None:
    with pytest.raises(UserError, match=r"reports/mrpc/index.html is not there; run 'make repro'"):
        report()
    assert opened == []
