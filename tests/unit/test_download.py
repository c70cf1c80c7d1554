"""Downloads over HTTP from a local server: resumed, verified, or refused in one line."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from stages import tasks
from stages.plumbing.command import UserError
from stages.plumbing.manifest import MANIFEST
from stages.sources import Unavailable
from stages.sources.cached import forget, is_cached
from stages.sources.http import answers, download
from tests.building import flip
from tests.conftest import PUBLISHED
from tests.glue_files import tables
from tests.stand_in_hub import Server, talking
from tests.unit.conftest import close_soon

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.files["/file"] = CONTENT
    yield server
    close_soon(server)


def test_a_break_is_resumed_where_it_happened(server: Server, tmp_path: Path) -> None:
    server.break_off_after = [100_000]
    target = download(f"{server.url}/file", tmp_path / "file")
    assert target.read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert server.ranges[1] == "bytes=65536-"  # whole chunks are kept


def test_a_killed_download_continues_in_the_next_run(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT[:1234])
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1234-"]
    assert not (tmp_path / "file.partial").exists()


def test_a_leftover_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_bytes(CONTENT + b"more")
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_keeps_breaking_off_gives_no_file(server: Server, tmp_path: Path) -> None:
    server.break_off_after = [70_000] * 3
    with pytest.raises(UserError, match="broke off 3 times"):
        download(f"{server.url}/file", tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "file.partial").stat().st_size == 3 * 65536


def test_a_stalled_server_is_asked_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.sources.http.READ_SECONDS", 0.3)
    server.stall_after = [70_000]
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=65536-"]


def test_a_wrong_checksum_leaves_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wrong checksum"):
        download(f"{server.url}/file", tmp_path / "file", pinned_sha256="0" * 64)
    assert not (tmp_path / "file").exists()
    right = hashlib.sha256(CONTENT).hexdigest()
    assert download(f"{server.url}/file", tmp_path / "file", pinned_sha256=right).exists()


def test_a_missing_file_and_a_dead_server_let_the_next_source_try(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match="HTTP 404"):
        download(f"{server.url}/nothing", tmp_path / "file")
    with pytest.raises(Unavailable, match="ConnectionError"):
        download("http://127.0.0.1:9/file", tmp_path / "file")


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("parts", [(HEAD + b"\r\n", b"x"), (HEAD, b"x")])
def test_a_server_that_drips_is_given_up_and_the_next_source_tried(
    parts: tuple[bytes, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its body or its header: each byte would begin the socket's timeout anew."""
    monkeypatch.setattr("stages.sources.pace.GRACE_SECONDS", 0.3)
    with talking(*parts, every=0.02) as url, pytest.raises(Unavailable, match="less than 16 kB"):
        download(f"{url}/file", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_body_without_an_end_fills_no_disk(tmp_path: Path) -> None:
    with (
        talking(HEAD + b"\r\n", bytes(1 << 16)) as url,
        pytest.raises(Unavailable, match=r"has more than the 0\.001 GB that such a file may have"),
    ):
        download(f"{url}/file", tmp_path / "file", at_most=10**6)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_body_that_is_announced_too_large_is_not_asked_for(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable, match=r"has more than"):
        download(f"{server.url}/file", tmp_path / "file", at_most=len(CONTENT) - 1)
    assert not list(tmp_path.iterdir())
    assert download(f"{server.url}/file", tmp_path / "file", at_most=len(CONTENT)).exists()


def test_a_question_is_not_waited_for_longer_than_a_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stages.sources.http.HEAD_SECONDS", 0.3)
    with talking(HEAD, b"x", every=0.02) as url:
        assert not answers(url)


def test_a_part_of_another_place_is_not_joined(server: Server, tmp_path: Path) -> None:
    """Content-Range says where a part begins; some servers send another one than was asked for."""
    (tmp_path / "file.partial").write_bytes(CONTENT[:1234])
    wrong = b"HTTP/1.1 206 Part\r\nContent-Range: bytes 5-14/15\r\nContent-Length: 10\r\n\r\n"
    with talking(wrong, b"0123456789") as url, pytest.raises(UserError, match="broke off"):
        download(f"{url}/file", tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_of_certificates_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9: .*none\.pem"):
        download("https://127.0.0.1:9/file", tmp_path / "file")
    assert not answers("https://127.0.0.1:9/file")


def test_a_parquet_file_that_would_fill_the_memory_is_refused(
    hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.sources.hub_parquet.MOST_UNPACKED", 10_000)
    with pytest.raises(UserError, match=r"mrpc/train.* would unpack to 0\.0 GB"):
        MRPC.fetch(FROM_HUB)


DOWNLOADS = """
import sys
from pathlib import Path
from stages.sources.http import download
print(download(sys.argv[1], Path(sys.argv[2])).read_bytes() == Path(sys.argv[3]).read_bytes())
"""


def test_two_downloads_into_one_cache_are_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "expected").write_bytes(CONTENT)
    server.stall_after = [100_000]  # so that the others come meanwhile
    command = [sys.executable, "-c", DOWNLOADS, f"{server.url}/file", str(tmp_path / "cache/file")]
    children = [
        subprocess.Popen([*command, str(tmp_path / "expected")], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [child.communicate()[0] for child in children] == ["True\n"] * 3
    assert server.ranges == [None, "bytes=65536-"]
    assert sorted(os.listdir(tmp_path / "cache")) == ["file", MANIFEST]


def test_what_was_altered_in_the_cache_is_fetched_anew(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = download(f"{server.url}/file", tmp_path / "file")
    flip(target)
    assert download(f"{server.url}/file", target).read_bytes() == CONTENT
    assert f"{target} was altered after it was downloaded: removed" in capsys.readouterr().out
    assert is_cached(target)


def test_a_file_that_was_put_into_the_cache_by_hand_is_taken(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"by hand")
    assert download(f"{server.url}/file", tmp_path / "file").read_bytes() == b"by hand"
    assert server.ranges == []


def test_what_is_no_good_is_forgotten_so_that_another_may_be_put_there(
    server: Server, tmp_path: Path
) -> None:
    target = download(f"{server.url}/file", tmp_path / "file")
    forget(target)
    assert os.listdir(tmp_path) == []
    target.write_bytes(b"by hand")
    assert download(f"{server.url}/file", target).read_bytes() == b"by hand"


@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A stand-in hub with MRPC's parquet files, and an empty cache."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("BERTQUANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for split, (negatives, positives) in PUBLISHED.items():
        n = negatives + positives
        rows = pd.DataFrame(
            {
                "sentence1": [f"{split} {i}" for i in range(n)],
                "sentence2": ["x"] * n,
                "label": [0] * negatives + [1] * positives,
                "idx": range(n),
            }
        )
        buffer = io.BytesIO()
        rows.to_parquet(buffer)
        path = f"/datasets/nyu-mll/glue/resolve/main/mrpc/{split}-00000-of-00001.parquet"
        server.files[path] = buffer.getvalue()
    return server


MRPC = tasks.dataset("mrpc", {})
FROM_HUB = SimpleNamespace(sources=["mirror", "hub"], mirror="", counts="published")


def test_mrpc_from_the_hub(hub: Server) -> None:
    fetched = MRPC.fetch(FROM_HUB)
    assert fetched.source == "hub"
    for split, published in PUBLISHED.items():
        rows = tables(fetched)[split]
        assert list(rows.columns) == ["id", "sentence1", "sentence2", "label"]
        assert ((rows["label"] == 0).sum(), (rows["label"] == 1).sum()) == published
    assert MRPC.reachable(FROM_HUB)


def test_a_hub_file_that_is_no_parquet_is_refused_and_fetched_anew(hub: Server) -> None:
    path = "/datasets/nyu-mll/glue/resolve/main/mrpc/train-00000-of-00001.parquet"
    good, hub.files[path] = hub.files[path], b"<html>log in</html>"
    with pytest.raises(UserError, match=r"not a readable parquet.*removed, run again"):
        MRPC.fetch(FROM_HUB)
    hub.files[path] = good
    assert len(tables(MRPC.fetch(FROM_HUB))["train"]) == 3668


def test_offline_mode_is_respected(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        MRPC.fetch(FROM_HUB)


def test_what_was_downloaded_before_needs_no_hub(
    hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    MRPC.fetch(FROM_HUB)
    hub.files.clear()
    assert MRPC.reachable(FROM_HUB)
    assert len(tables(MRPC.fetch(FROM_HUB))["test"]) == 1725


def test_other_counts_than_published_are_not_kept_in_the_cache(hub: Server) -> None:
    path = "/datasets/nyu-mll/glue/resolve/main/mrpc/train-00000-of-00001.parquet"
    validation = "/datasets/nyu-mll/glue/resolve/main/mrpc/validation-00000-of-00001.parquet"
    good, hub.files[path] = hub.files[path], hub.files[validation]
    with pytest.raises(UserError, match=r"published are .* removed, run again"):
        MRPC.fetch(FROM_HUB)
    hub.files[path] = good
    MRPC.fetch(FROM_HUB)
