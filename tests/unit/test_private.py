"""Passwords, tokens and whose home it is stay out of messages and of what is written."""

import subprocess
from pathlib import Path

import pytest

from stages.commands import share
from stages.plumbing.command import UserError, one_line
from stages.plumbing.private import cleaned, shortened, without_login


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://jane:s3cret@host/simple", "https://host/simple"),
        ("at https://jane:p@ss@host:8080/x, twice", "at https://host:8080/x, twice"),
        ("ssh://jane@host/path", "ssh://host/path"),
        ("s3://key:secret@bucket/path", "s3://bucket/path"),
        ("https://host/x?token=abc&page=2", "https://host/x?token=***&page=2"),
        ("https://s3/x?X-Amz-Signature=abc'", "https://s3/x?X-Amz-Signature=***'"),
        ("https://host/x?a=b", "https://host/x?a=b"),
        ("write to jane@host", "write to jane@host"),
    ],
)
def test_addresses_are_shown_without_what_opens_them(said: str, shown: str) -> None:
    assert without_login(said) == shown
    assert cleaned(said) == shown


def test_tokens_are_hidden_whoever_repeats_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "an-own-kind-of-token")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert cleaned("401 for an-own-kind-of-token") == "401 for <HF_TOKEN>"
    assert cleaned("denied: wJalrXUtnFEMI/K7MDENG") == "denied: <AWS_SECRET_ACCESS_KEY>"
    assert cleaned("hf_abcdefghijklmnopqrst is wrong") == "*** is wrong"
    assert cleaned("Authorization: Bearer abcdefgh1234") == "Authorization: Bearer ***"
    assert cleaned("false") == "false"


def test_a_home_is_shortened_and_nothing_that_only_begins_like_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "jane"))
    assert cleaned(f"{tmp_path}/jane/model is missing") == "~/model is missing"
    assert cleaned(f"'{tmp_path}/jane'") == "'~'"
    assert cleaned(f"{tmp_path}/janet/model") == f"{tmp_path}/janet/model"


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/home/jane/data/reviews.csv", "~/data/reviews.csv"),
        ("/Users/jane/reviews.csv", "~/reviews.csv"),
        ("/root/reviews.csv", "~/reviews.csv"),
        ("/data/home/jane/reviews.csv", "/data/home/jane/reviews.csv"),
        ("data/reviews.csv", "data/reviews.csv"),
        ("", ""),
    ],
)
def test_a_path_is_written_the_same_whoever_runs_it(path: str, written: str) -> None:
    assert shortened(path) == written


def test_a_remote_that_fails_is_shown_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = {"core.remote": "team", "remote.team.url": "https://jane:s3cret@host/dvc"}
    failed: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(share, "settings", lambda: config)
    with pytest.raises(SystemExit) as exit:
        share.share("push")
    assert exit.value.code == 1
    assert "'team' is https, https://host/dvc" in capfd.readouterr().err


@pytest.mark.parametrize("raised", [UserError, ValueError])
def test_neither_a_line_nor_a_traceback_tells_any_of_it(
    raised: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "jane"))
    monkeypatch.setenv("HF_TOKEN", "an-own-kind-of-token")
    said = f"https://jane:s3cret@hub/x an-own-kind-of-token {tmp_path}/jane/x"
    with pytest.raises(SystemExit), one_line("stages.latency"):
        raise raised(said)
    told = capfd.readouterr().err
    assert "https://hub/x <HF_TOKEN> ~/x" in told
    assert not [secret for secret in ("s3cret", f"{tmp_path}/jane") if secret in told]
