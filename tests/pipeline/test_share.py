"""Results are shared through S3 and SSH; where access is missing, a line says what to set."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loopback_remotes import Remote, s3_remote, ssh_remote
from tests.pipeline.conftest import Repo
from tests.pipeline.test_dag import ALWAYS

SHARE = (sys.executable, "-m", "stages.commands.share")
REMOTES = {"s3": s3_remote, "ssh": ssh_remote}
TOLD = {
    "s3": "remote 'team' is S3, s3://bucket/bert; if it refused you: set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or 'dvc remote modify --local team access_key_id KEY' and "
    "'dvc remote modify --local team secret_access_key SECRET'",
    "ssh": "if it refused you: 'dvc remote modify --local team user NAME' and "
    "'dvc remote modify --local team keyfile ~/.ssh/KEY'",
}


@dataclass
class Shared:
    """A finished pipeline that was pushed, and a colleague's fresh clone, nothing of it pulled."""

    kind: str
    remote: Remote
    clone: Repo


def set_locally(repo: Repo, options: dict[str, str]) -> None:
    """What `dvc remote modify --local` writes."""
    lines = [f"    {name} = {value}\n" for name, value in options.items()]
    (repo.folder / ".dvc/config.local").write_text("".join(["['remote \"team\"']\n", *lines]))


@pytest.fixture(scope="module", params=REMOTES)
def shared(
    request: pytest.FixtureRequest, finished: Repo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "server").mkdir()
    with REMOTES[request.param](folder / "server") as remote:
        repo = finished.copy(folder / "project")
        repo.environment |= remote.environment
        repo.run("dvc", "remote", "add", "-q", "-d", "team", remote.url)
        with (repo.folder / ".dvc/config").open(
            "a"
        ) as config:  # it ends with this remote's section
            config.writelines(f"    {name} = {value}\n" for name, value in remote.options.items())
        repo.commit()
        set_locally(repo, remote.access)
        repo.run(*SHARE, "push")
        yield Shared(request.param, remote, repo.clone(folder / "clone"))


@pytest.mark.parametrize("access", ["missing", "wrong"])
def test_who_is_refused_learns_at_once_what_to_set(shared: Shared, access: str) -> None:
    set_locally(shared.clone, {} if access == "missing" else shared.remote.wrong)
    start = time.monotonic()
    refused = subprocess.run(
        [*SHARE, "pull"],
        cwd=shared.clone.folder,
        env=shared.clone.environment,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1  # as of `dvc pull` itself
    lines = refused.stderr.splitlines()
    assert any(line.startswith("ERROR: ") for line in lines)
    assert lines[-1].startswith("share: pull failed; ")
    assert TOLD[shared.kind] in lines[-1]
    assert "Traceback" not in refused.stderr
    assert time.monotonic() - start < 60  # seconds in truth, on a busy machine too; not minutes


def test_who_has_access_pulls_all_and_trains_nothing(shared: Shared) -> None:
    clone = shared.clone
    set_locally(clone, shared.remote.access)
    clone.run(*SHARE, "pull")
    assert set(clone.repro()) == ALWAYS
    assert clone.run("git", "status", "--porcelain") == ""


def test_a_tagged_export_is_fetched_by_the_name_of_its_artifact(repo: Repo, tmp_path: Path) -> None:
    repo.run("dvc", "remote", "add", "-q", "-d", "team", str(tmp_path / "remote"))
    repo.commit()
    repo.run("git", "tag", "-a", "shipped@v1.0.0", "-m", "the first that shipped")
    repo.run("dvc", "push", "-q", "exports/mrpc")
    elsewhere = tmp_path / "elsewhere"
    repo.run("dvc", "artifacts", "get", str(repo.folder), "shipped", "-o", str(elsewhere))
    exported = repo.folder / "exports/mrpc"
    files = {path.name: path.read_bytes() for path in elsewhere.iterdir() if path.is_file()}
    assert files == {p.name: p.read_bytes() for p in exported.iterdir() if p.is_file()}
    assert "manifest.json" in files


def test_without_a_remote_one_line_says_how_to_add_one(repo: Repo) -> None:
    said = repo.fails(*SHARE, "push")
    assert "share: push failed; no remote is the default one; 'dvc remote add -d team" in said
    said = repo.fails(*SHARE, "push", "taem")
    assert "share: push failed; there is no remote 'taem'" in said
