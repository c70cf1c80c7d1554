"""`dvc repro` with names that a shell or a file system would read otherwise."""

from pathlib import Path

import pytest

from tests.pipeline.conftest import ROOT, Repo, of_stage


@pytest.fixture
def named(fresh: Repo, tmp_path: Path) -> Repo:
    return fresh.copy(tmp_path / "around" / "project")


def set_task(repo: Repo, name: str) -> None:
    repo.set_params({"tasks": [name]})
    text = (repo.folder / "params.yaml").read_text()
    assert name in text


@pytest.mark.parametrize("name", ["mrpc__$(touch X)", "mrpc__x/../y"])
def test_a_name_that_is_none_stops_before_anything_is_run_or_removed(
    name: str, named: Repo
) -> None:
    set_task(named, name)
    said = named.fails("dvc", "repro")
    (line,) = [line for line in said.splitlines() if "is no name for a task" in line]
    assert line.startswith("code: params.yaml: tasks.0 is ")
    assert "Running stage 'download_glue" not in said
    assert not (named.folder / "X").exists()
    assert not (named.folder / "data").exists()


def test_a_folder_outside_of_the_project_stays_as_it_is(named: Repo) -> None:
    """DVC sees by itself that data/ and metrics/ of such a task are one folder; a stage refuses."""
    victim = named.folder.parent / "victim"
    victim.mkdir()
    (victim / "kept").touch()
    name = "mrpc__x/../../../victim"
    set_task(named, name)
    named.fails("dvc", "repro")
    said = named.fails(*of_stage("download_glue", name))
    assert said.startswith(f"download_glue: '{name}' is no name for a task")
    assert [path.name for path in victim.iterdir()] == ["kept"]


@pytest.mark.parametrize("name", ["mrpc__$(touch X)", "mrpc__`touch X`", "mrpc__'; touch X; '"])
def test_no_shell_reads_a_name_where_a_stage_is_run_by_itself(name: str, named: Repo) -> None:
    """`--single-item` leaves out the stages before it, which would have refused."""
    set_task(named, name)
    said = named.fails("dvc", "repro", "--single-item", "-f", f"download_glue@{name}")
    assert "is no name for a task" in said
    assert not list(named.folder.rglob("X"))


def test_every_command_has_its_items_quoted_by_dvc() -> None:
    commands = [
        line.strip()
        for line in (ROOT / "dvc.yaml").read_text().splitlines()
        if line.strip().startswith("cmd:")
    ]
    assert len(commands) >= 11
    assert [line for line in commands if "${" in line and not line.endswith(" ${item}")] == []


@pytest.mark.parametrize("seed", ["1; touch X", 1.0])
def test_a_seed_that_is_none_stops_the_first_stage(seed: object, named: Repo) -> None:
    named.set_params({"finetune": {"seeds": [seed]}})
    said = named.fails("dvc", "repro")
    assert "finetune.seeds.0 is" in said
    assert "Running stage 'download_glue" not in said
    assert not (named.folder / "X").exists()
