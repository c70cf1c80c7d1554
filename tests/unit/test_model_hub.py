"""Models from the hub, against a stand-in: had, refused, cut off, unreachable."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.plumbing.command import UserError
from stages.plumbing.manifest import write_checksums
from stages.sources import model_hub
from stages.tasks.mrpc import DATASET
from stages.training.model_names import resolve
from stages.training.pretrained import load
from tests.building import flip, training_rows
from tests.families import tiny_roberta
from tests.stand_in_hub import Server, black_hole, silence
from tests.unit.conftest import close_soon

ROOT = Path(__file__).parents[2]
NAME = "somebody/tiny-roberta"
WEIGHTS = "model.safetensors"
DEAD = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_roberta(tmp_path_factory.mktemp("model") / "tiny-roberta")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Iterator[Server]:
    """A hub with one model, and an empty cache."""
    server = Server()
    server.add_model(NAME, model)
    server.fragile = WEIGHTS
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # Read when the library is imported, so the environment comes too late here.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 14)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    yield server
    close_soon(server)


def weight_requests(hub: Server) -> list[str]:
    return [one for one in hub.asked if one.startswith("GET") and one.endswith(WEIGHTS)]


def test_a_model_of_the_hub_is_the_one_that_was_put_there(hub: Server, model: Path) -> None:
    loaded, tokenizer = load(resolve(NAME), DATASET.task, 0)
    ours, _ = load(resolve(str(model)), DATASET.task, 0)
    for name, value in ours.state_dict().items():
        assert value.equal(loaded.state_dict()[name]), name
    assert tokenizer.convert_ids_to_tokens(tokenizer("bab cod")["input_ids"])[1] == "bab"


def test_the_second_time_nothing_is_fetched_and_no_hub_is_needed(
    hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = resolve(NAME)
    assert len(weight_requests(hub)) == 1
    assert resolve(NAME) == first
    assert len(weight_requests(hub)) == 1
    for endpoint, offline in ((DEAD, "0"), (hub.url, "1")):
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        assert resolve(NAME) == first
    assert len(weight_requests(hub)) == 1


def test_a_file_that_was_altered_in_the_hubs_cache_is_fetched_anew(
    hub: Server, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = Path(resolve(NAME).location, WEIGHTS)
    flip(weights.resolve())
    resolve(NAME)
    assert f"{NAME}: {WEIGHTS} was altered in the hub's cache" in capsys.readouterr().out
    assert weights.read_bytes() == (model / WEIGHTS).read_bytes()
    flip(weights.resolve())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=f"{WEIGHTS} was altered .* HF_HUB_OFFLINE is set"):
        resolve(NAME)


def test_random_weights_need_the_configuration_only(hub: Server) -> None:
    source = resolve(f"random:{NAME}")
    assert source.weights == "random"
    assert not weight_requests(hub)
    loaded, _ = load(source, DATASET.task, 0)
    assert loaded.config.model_type == "roberta"


def test_a_repository_without_safetensors_gives_its_bin_file(hub: Server, model: Path) -> None:
    import torch
    from safetensors.torch import load_file

    old = model.parent / "old"
    old.mkdir(exist_ok=True)
    for path in model.iterdir():
        if path.name != WEIGHTS:
            (old / path.name).write_bytes(path.read_bytes())
    torch.save(load_file(model / WEIGHTS), old / "pytorch_model.bin")
    hub.add_model("somebody/old", old)
    loaded, _ = load(resolve("somebody/old"), DATASET.task, 0)
    name = "roberta.embeddings.word_embeddings.weight"
    assert loaded.state_dict()[name].equal(load_file(model / WEIGHTS)[name])


def test_files_of_a_tokenizer_come_by_their_kinds_and_nothing_from_below(
    hub: Server, model: Path
) -> None:
    other = model.parent / "kinds"
    (other / "onnx").mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    kinds = ("vocab.json", "merges.txt", "spm.model", "bpe.codes", "bert.tiktoken")
    for name in (*kinds, "onnx/config.json", "pytorch_model.bin", "training_args.bin"):
        (other / name).write_text("{}")
    hub.add_model("somebody/kinds", other)
    fetched = {path.name for path in Path(resolve("somebody/kinds").tokenizer).rglob("*")}
    assert set(kinds) < fetched
    assert not {"onnx", "pytorch_model.bin", "training_args.bin"} & fetched


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_says_where_to_accept_its_terms(hub: Server, status: int) -> None:
    hub.refused[f"/{NAME}/"] = (status, "GatedRepo")
    with pytest.raises(UserError) as error:
        resolve(NAME)
    assert f"'{NAME}': it is gated; accept its terms on {hub.url}/{NAME}" in str(error.value)
    assert "set HF_TOKEN" in str(error.value)


def test_the_token_is_sent_with_every_request(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    resolve(NAME)
    assert len(hub.tokens) > 4
    assert set(hub.tokens) == {"Bearer hf_secret"}


def test_terms_that_are_withdrawn_during_the_download_are_said_too(hub: Server) -> None:
    hub.refused[f"/{NAME}/resolve/0"] = (403, "GatedRepo")  # not /resolve/main, which is looked up
    with pytest.raises(UserError, match="it is gated; accept its terms"):
        resolve(NAME)


@pytest.mark.parametrize("refusal", [(401, "RepoNotFound"), (404, "RepoNotFound"), None])
def test_a_missing_model_is_not_there_or_private(
    hub: Server, refusal: tuple[int, str] | None
) -> None:
    if refusal:
        hub.refused["/nobody/nothing"] = refusal
    with pytest.raises(UserError) as error:
        resolve("nobody/nothing")
    for text in ("'nobody/nothing': the hub has none of this name", "private", "minilm-l6"):
        assert text in str(error.value)


def test_a_repository_that_is_no_model_of_transformers(hub: Server) -> None:
    hub.refused["/some/body"] = (404, "EntryNotFound")
    with pytest.raises(UserError, match=r"has it, but without config\.json"):
        resolve("some/body")


def test_a_cut_in_the_weights_is_resumed(hub: Server, model: Path) -> None:
    hub.break_off_after = [40_000]
    folder = Path(resolve(NAME).location)
    assert (folder / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()
    assert [one for one in hub.ranges if one] == ["bytes=32768-"]  # whole chunks are kept


def test_weights_that_keep_breaking_off_are_never_used(
    hub: Server, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.break_off_after = [100] * 6
    with pytest.raises(UserError, match=f"download of the model '{NAME}' .* broke off"):
        resolve(NAME)
    monkeypatch.setenv("HF_ENDPOINT", DEAD)
    with pytest.raises(UserError, match=r"it was not \(or not all\) downloaded before"):
        resolve(NAME)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    before = len(hub.asked)
    folder = Path(resolve(NAME).location)
    assert (folder / WEIGHTS).read_bytes() == (model / WEIGHTS).read_bytes()
    fetched = [one for one in hub.asked[before:] if one.startswith("GET") and "/resolve/" in one]
    assert len(fetched) == 1  # the other files had arrived whole


def test_a_hub_in_trouble_is_not_asked_for_the_files(hub: Server) -> None:
    hub.refused[f"/{NAME}/"] = (503, "x")
    with pytest.raises(UserError, match=r"the hub answers HTTP 503 .* not .* downloaded before"):
        resolve(NAME)
    assert len(hub.asked) == 1


def test_a_model_that_is_too_large_is_said_before_anything_is_fetched(
    hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_hub, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match=f"'{NAME}' has 0.0 GB; 0 GB are allowed"):
        resolve(NAME)
    assert not [one for one in hub.asked if one.startswith("GET") and "/resolve/" in one]


def test_a_hub_that_drips_is_given_up(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.sources.pace.GRACE_SECONDS", 0.3)
    monkeypatch.setattr("stages.sources.pace.LEAST_RATE", 10**9)
    hub.stall_after = [100]
    with pytest.raises(UserError, match=f"'{NAME}' .* broke off .*TooSlow"):
        resolve(NAME)


def test_a_hub_that_sends_more_than_it_announced_is_given_up(
    hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = model_hub.Snapshot(NAME, with_weights=True)
    coming.check(1000)
    assert coming.received() == 0
    coming.blobs.mkdir(parents=True)
    (coming.blobs / "x.incomplete").write_bytes(bytes(5000))
    assert coming.received() == 5000
    monkeypatch.setattr(model_hub, "SLACK", 1000)
    with pytest.raises(UserError, match="sends more of the model"):
        coming.received()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with MRPC's task and some of its rows, whose model is on the hub."""
    folder = tmp_path / "project"
    (folder / "data/mrpc").mkdir(parents=True)
    (folder / "stages").symlink_to(ROOT / "stages")
    params: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["finetune"]["mrpc"]["model"] = NAME
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    task = DATASET.task.model_copy(update={"scored": ("validation",)})
    (folder / "data/mrpc/task.json").write_text(json.dumps(task.model_dump()))
    for split in ("train", "validation"):
        training_rows(20).to_parquet(folder / f"data/mrpc/{split}.parquet")
    write_checksums(folder / "data/mrpc")
    return folder


# Says how long the stage itself took: imports take 1.5 to 2 s on a free core, more on a loaded one.
TIMED = """
import atexit, sys, time
from stages import {stage}
from stages.plumbing.command import run_stage
start = time.monotonic()
atexit.register(lambda: print(time.monotonic() - start))
run_stage({stage}.{stage})
"""
IMPORTS, LIMIT = 2.0, 10.0


def run(project: Path, stage: str, *arguments: str, **environment: str) -> tuple[float, str]:
    """Seconds that a stage takes to fail on a free core, and what it says."""
    environment["HF_HOME"] = str(project / "hf")
    environment["BERTQUANT_CACHE"] = str(project / "cache")
    for name in ("HF_HUB_OFFLINE", "GLUE_MIRROR", "HF_TOKEN"):
        environment[name] = ""
    result = subprocess.run(
        [sys.executable, "-c", TIMED.format(stage=stage), *arguments],
        cwd=project,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return float(result.stdout) + IMPORTS, result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("network", ["closed", "black hole", "silent"])
def test_without_a_network_the_model_is_refused_within_ten_seconds(
    network: str, project: Path
) -> None:
    with black_hole() as nowhere, silence() as silent:
        endpoint = {"closed": DEAD, "black hole": nowhere, "silent": silent}[network]
        seconds, said = run(project, "finetune", "--task=mrpc", "--seed=42", HF_ENDPOINT=endpoint)
    assert f"cannot load the model '{NAME}': the hub does not answer" in said
    assert "minilm-l6" in said
    assert seconds < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("network", ["closed", "black hole"])
def test_without_a_network_the_data_are_refused_within_ten_seconds(
    network: str, project: Path
) -> None:
    """Through a proxy, so that the hub and the official site are both out of reach."""
    with black_hole() as nowhere:
        proxy = {"closed": DEAD, "black hole": nowhere}[network]
        seconds, said = run(
            project,
            "download_glue",
            "--task=mrpc",
            HTTPS_PROXY=proxy,
            https_proxy=proxy,
            NO_PROXY="",
        )
    assert "no source of MRPC could be reached" in said
    assert "GLUE_MIRROR" in said
    assert seconds < LIMIT
