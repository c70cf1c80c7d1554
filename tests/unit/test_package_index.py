"""Files of packages from whatever index pip is set up for; nothing of a package ever runs."""

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.plumbing.command import UserError
from stages.sources import pip_settings as of_pip
from stages.sources.pip_settings import PYPI, PipSettings, pip_settings, settings_of
from stages.sources.pypi import fetch_package
from tests.stand_in_hub import Server
from tests.unit.conftest import close_soon

FILENAME = "Tiny.Thing-1.0.tar.gz"
REQUIREMENT = "Tiny.Thing==1.0"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What the package's build would leave behind."""
    return tmp_path / "it was run"


@pytest.fixture
def archive(tmp_path: Path, mark: Path) -> bytes:
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    members = {"setup.py": code, "pyproject.toml": "[build-system]\nrequires = []\n", "data": "1"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        for name, text in members.items():
            member = tarfile.TarInfo(f"Tiny.Thing-1.0/{name}")
            member.size = len(text)
            file.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this machine's, and an empty cache."""
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(of_pip, "configured", dict)
    monkeypatch.setenv("BERTQUANT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    close_soon(server)


def fetched(content: bytes) -> Path:
    return fetch_package(REQUIREMENT, FILENAME, hashlib.sha256(content).hexdigest())


def page(*links: str) -> bytes:
    return "".join(f'<!DOCTYPE html><a href="{link}">x</a>' for link in links).encode()


def folder_index(folder: Path, content: bytes) -> str:
    """The address of an index that is a folder, as pip reads one."""
    project = folder / "simple" / "tiny-thing"
    project.mkdir(parents=True)
    (folder / FILENAME).write_bytes(content)
    (project / "index.html").write_bytes(page(f"../../{FILENAME}#sha256=0", "other-1.0.whl"))
    return (folder / "simple").as_uri()


def test_from_an_index_in_a_folder_without_running_the_package(
    archive: bytes, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", folder_index(tmp_path / "index", archive))
    assert fetched(archive).read_bytes() == archive
    assert not mark.exists()
    monkeypatch.setenv("PIP_INDEX_URL", "file:///nowhere")
    assert fetched(archive).read_bytes() == archive  # it is in the cache


def test_from_an_index_that_wants_a_password_which_no_message_repeats(
    archive: bytes, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = server.url.replace("//", "//somebody:secret@")
    monkeypatch.setenv("PIP_INDEX_URL", f"{named}/simple/")
    with pytest.raises(UserError) as refused:
        fetched(archive)
    assert f"it is not at {server.url}/simple" in str(refused.value)
    server.files["/simple/tiny-thing/"] = page(f"../../files/{FILENAME}")
    with pytest.raises(UserError) as missing:
        fetched(archive)
    assert f"HTTP 404 for {server.url}/files/{FILENAME}" in str(missing.value)
    assert "secret" not in str(refused.value) + str(missing.value)
    server.files[f"/files/{FILENAME}"] = archive
    assert fetched(archive).read_bytes() == archive
    login = "Basic " + base64.b64encode(b"somebody:secret").decode()
    assert set(server.tokens) == {login}


@pytest.mark.parametrize("kind", ["a folder", "the file", "a page"])
def test_from_what_find_links_names(
    kind: str, archive: bytes, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / FILENAME).write_bytes(archive)
    server.files |= {"/page": page(FILENAME), f"/{FILENAME}": archive}
    places = {
        "a folder": str(tmp_path),
        "the file": (tmp_path / FILENAME).as_uri(),
        "a page": f"{server.url}/page",
    }
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"/nowhere {places[kind]}")
    assert fetched(archive).read_bytes() == archive


def test_other_bytes_in_one_place_are_left_for_the_right_ones_in_another(
    archive: bytes, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files |= {"/simple/tiny-thing/": page(f"/{FILENAME}"), f"/{FILENAME}": b"other bytes"}
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:9/simple file:///nowhere")
    with pytest.raises(UserError, match=r"wrong checksum for .*ConnectionError.*/nowhere"):
        fetched(archive)
    assert not list((tmp_path / "cache").rglob("*.tar.gz*"))
    folder = folder_index(tmp_path / "index", archive)
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", folder)
    assert fetched(archive).read_bytes() == archive


def test_what_is_no_address_is_one_line(archive: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@[bad")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://me:secret@h:port/simple")
    with pytest.raises(UserError, match=r"http://\[bad/tiny-thing/ is no address") as error:
        fetched(archive)
    assert "secret" not in str(error.value)


def test_without_any_index_it_says_where_to_put_the_file(
    archive: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "true")
    with pytest.raises(UserError, match=r"no index at all.*put the file") as error:
        fetched(archive)
    (tmp_path / "cache/packages" / FILENAME).write_bytes(archive)
    assert str(tmp_path / "cache/packages") in str(error.value)
    assert fetched(archive).read_bytes() == archive


def test_the_environment_ranks_above_the_section_of_download_and_that_above_all() -> None:
    files = {
        "global.index-url": "https://a/simple",
        "global.extra-index-url": "https://b/simple\nhttps://c/simple/",
        "global.cert": "/a.pem",
        "download.index-url": "https://d/simple",
    }
    assert settings_of(files, {"PIP_INDEX_URL": ""}) == PipSettings(
        ("https://d/simple", "https://b/simple", "https://c/simple"), (), certificates="/a.pem"
    )
    given = {"PIP_INDEX_URL": "https://e/simple", "PIP_TRUSTED_HOST": "e f:8080"}
    found = settings_of(files, given)
    assert found.indexes[0] == "https://e/simple"
    assert found.session("https://e/simple").verify is False
    assert found.session("https://b/simple").verify == "/a.pem"
    assert settings_of({}, {}).indexes == (PYPI,)


def test_pips_own_configuration_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for name in os.environ:
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://it's.example/simple\nno-index = false\n"
        "[download]\nfind-links =\n    /one\n    /two\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    of_pip.configured.cache_clear()
    try:
        found = pip_settings()
    finally:
        of_pip.configured.cache_clear()
    assert found.indexes[0] == "https://it's.example/simple"
    assert found.find_links == ("/one", "/two")
