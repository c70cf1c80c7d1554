"""The GLUE tasks from a stand-in hub and site: the rows that a mirror gives, or a reason."""

import http.server
import io
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import parquet

from stages import tasks
from stages.plumbing.command import UserError
from tests.glue_files import GLUE, hub_files, site_path, site_zip, tables, write_mirror
from tests.stand_in_hub import Server
from tests.unit.conftest import SITE
from tests.unit.test_glue import fetch as fetch_mirror

TRAIN = "/datasets/nyu-mll/glue/resolve/main/rte/train-00000-of-00001.parquet"


def settings(*sources: str, counts: str = "any") -> SimpleNamespace:
    return SimpleNamespace(sources=[*sources], mirror="", counts=counts)


@pytest.mark.parametrize("task", GLUE)
def test_hub_site_and_mirror_give_the_same_rows(net: Server, tmp_path: Path, task: str) -> None:
    mirror = fetch_mirror(write_mirror(tmp_path, task), task)
    net.files |= hub_files(task)
    net.files[site_path(task)] = site_zip(tmp_path, task)
    dataset = tasks.dataset(task, {})
    for source in ("hub", "site"):
        assert dataset.reachable(settings(source))
        found = dataset.fetch(settings(source))
        assert found.source == source
        for split, rows in tables(found).items():
            wanted = tables(mirror)[split]
            assert rows.to_dict("list") == wanted.to_dict("list"), (source, split)
        assert list(found.splits) == list(mirror.splits)
    site = dataset.fetch(settings("site"))
    assert site.left_out == mirror.left_out
    assert list(site.sha256) == [site_path(task).rpartition("/")[2]]


def test_what_was_downloaded_before_needs_neither(net: Server, tmp_path: Path) -> None:
    write_mirror(tmp_path, "rte")
    net.files |= hub_files("rte") | {site_path("rte"): site_zip(tmp_path, "rte")}
    dataset = tasks.dataset("rte", {})
    for source in ("hub", "site"):
        dataset.fetch(settings(source))
    net.files.clear()
    for source in ("hub", "site"):
        assert dataset.reachable(settings(source))
        assert len(tables(dataset.fetch(settings(source)))["train"]) == 20


def test_a_zip_writes_nothing_but_the_download_itself(net: Server, tmp_path: Path) -> None:
    """Neither its `../evil.tsv` nor anything unpacked stays behind."""
    write_mirror(tmp_path / "mirror", "rte")
    net.files[site_path("rte")] = site_zip(tmp_path / "mirror", "rte")
    tasks.dataset("rte", {}).fetch(settings("site"))
    written = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.name for path in written} == {"RTE.zip", "manifest.json"}
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda content: b"<html>moved</html>", r"RTE\.zip is not a readable zip"),
        (lambda content: content[:1000], r"RTE\.zip is not a readable zip"),
        (lambda content: content.replace(b"RTE/train.tsv", b"RTE/trajn.tsv"), r"expected train\.t"),
        (lambda content: flipped(content, b"RTE/train.tsv"), r"RTE\.zip is not a readable zip"),
    ],
)
def test_a_damaged_zip_is_refused_and_fetched_anew(
    net: Server, tmp_path: Path, damage: Callable[[bytes], bytes], expected: str
) -> None:
    good = site_zip(write_mirror(tmp_path, "rte"), "rte")
    net.files[site_path("rte")] = damage(good)
    with pytest.raises(UserError, match=f"{expected}.*removed, run again"):
        tasks.dataset("rte", {}).fetch(settings("site"))
    net.files[site_path("rte")] = good
    assert len(tables(tasks.dataset("rte", {}).fetch(settings("site")))["train"]) == 20


def flipped(content: bytes, member: bytes) -> bytes:
    """One byte of the member's compressed data is another."""
    place = content.index(member) + len(member) + 40
    return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]


def test_other_counts_than_published_are_not_kept(net: Server, tmp_path: Path) -> None:
    net.files |= hub_files("rte") | {
        site_path("rte"): site_zip(write_mirror(tmp_path, "rte"), "rte")
    }
    for source in ("hub", "site"):
        with pytest.raises(UserError, match=r"published are 2490.*removed, run again"):
            tasks.dataset("rte", {}).fetch(settings(source, counts="published"))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    net.files |= hub_files("rte", rows=None)
    tasks.dataset("rte", {}).fetch(settings("hub", counts="published"))


def test_a_missing_file_of_the_hub_lets_the_site_try(net: Server, tmp_path: Path) -> None:
    net.files[site_path("rte")] = site_zip(write_mirror(tmp_path, "rte"), "rte")
    assert tasks.dataset("rte", {}).fetch(settings("mirror", "hub", "site")).source == "site"
    with pytest.raises(UserError, match=rf"there is no {net.url}{TRAIN} \(HTTP 404\)"):
        tasks.dataset("rte", {}).fetch(settings("hub"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_data_set_asks_for_a_token_and_sends_it(
    net: Server, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    sent: list[str | None] = []

    class Gate(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers.get("Authorization"))
            self.send_error(status)

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Gate) as gate:
        threading.Thread(target=gate.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{gate.server_port}")
        monkeypatch.setenv("HF_TOKEN", "hf_example")
        with pytest.raises(UserError, match=rf"gated or private \(HTTP {status}\).*HF_TOKEN"):
            tasks.dataset("rte", {}).fetch(settings("hub"))
        gate.shutdown()
    assert sent == ["Bearer hf_example"]


def test_a_hub_file_without_a_column_is_refused(net: Server) -> None:
    net.files |= hub_files("rte")
    net.files[TRAIN] = hub_files("qnli")[TRAIN.replace("rte", "qnli")]
    with pytest.raises(UserError, match=r"rte/train\.parquet lacks \['sentence1', 'sentence2'\]"):
        tasks.dataset("rte", {}).fetch(settings("hub"))


@pytest.mark.parametrize(
    ("column", "cells", "expected"),
    [
        ("sentence1", [["a", "list"]], r"row 1: 'sentence1' holds ndarray .* instead of a text"),
        ("sentence1", [b"bytes"], r"row 1: 'sentence1' holds bytes \(b'bytes'\) instead"),
        ("sentence2", [7], r"row 1: 'sentence2' holds int \(7\) instead of a text"),
        ("sentence2", ["a text", None], "row 2: 'sentence2' holds nothing instead of a text"),
        ("label", ["entailment"], "row 1: 'label' holds str .* instead of a number"),
        ("label", [0, None], "row 2: 'label' holds nothing instead of a number"),
        ("label", [[1]], "row 1: 'label' holds ndarray .* instead of a number"),
    ],
)
def test_a_hub_file_of_other_kinds_is_refused_by_its_row(
    net: Server, column: str, cells: list[object], expected: str
) -> None:
    rows = len(cells)
    frame = {"sentence1": ["a"] * rows, "sentence2": ["b"] * rows, "label": [0] * rows}
    table = pa.table(frame | {"idx": list(range(rows)), column: cells})
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    net.files |= hub_files("rte") | {TRAIN: sink.getvalue()}
    with pytest.raises(UserError, match=rf"rte/train\.parquet {expected}"):
        tasks.dataset("rte", {}).fetch(settings("hub"))


def test_without_any_source_each_reason_and_the_ways_out_are_named(
    net: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not tasks.dataset("stsb", {}).reachable(settings("mirror", "hub", "site"))
    with pytest.raises(UserError) as error:
        tasks.dataset("stsb", {}).fetch(settings("mirror", "hub", "site"))
    for part in (
        "mirror (GLUE_MIRROR is not set)",
        "hub (HF_HUB_OFFLINE is set)",
        f"HTTP 404 for {SITE}/glue/data/STS-B.zip",
        "a folder that holds STS-B/",
    ):
        assert part in str(error.value)
