"""HF_ENDPOINT and other addresses: what is none is one line, and no password is repeated."""

import pytest

from stages.plumbing.command import UserError
from stages.sources.address import HUB, host, hub, shown
from stages.training.model_names import resolve


@pytest.mark.parametrize("named", [None, "", " ", "https://mirror.example/", "http://h:8080/hub"])
def test_the_hub_is_what_is_named_or_the_public_one(
    named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is None:
        monkeypatch.delenv("HF_ENDPOINT", raising=False)
    else:
        monkeypatch.setenv("HF_ENDPOINT", named)
    assert hub() == ((named or "").strip().rstrip("/") or HUB)


@pytest.mark.parametrize(
    "named",
    [
        *("mirror.example", "//mirror.example", "ftp://mirror.example", "https://", "http://[bad"),
        *("x y", "http://h:port", "http://h:99999", "https://h/?key=1"),
    ],
)
def test_what_is_no_address_is_refused(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", named)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(UserError, match=r"HF_ENDPOINT is '.*it must begin with https://"):
        resolve("somebody/model")


@pytest.mark.parametrize("named", ["https://me:secret@h", "me:secret@h", "https://me:se@cret@h"])
def test_a_password_is_not_repeated(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", named)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(UserError, match="HF_ENDPOINT holds a name or a password") as error:
        resolve("somebody/model")
    assert "cret" not in str(error.value)


def test_an_address_is_shown_without_what_opens_it() -> None:
    assert shown("https://me:secret@h:1/a/b?key=c#d") == "https://h:1/a/b"
    assert host("https://me:secret@h:1/a") == "h:1"
    assert shown("no address") == "no address"
    assert shown("http://me:secret@[bad") == "http://[bad"
