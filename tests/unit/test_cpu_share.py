"""How many processors a process may use, by what Linux says of its control groups."""

import os
from pathlib import Path

import pytest

from stages.plumbing.cpu_share import all_threads, cpu_quota, limited_by


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(root: Path, groups: str, **files: str) -> Path:
    """A root folder where a process is in `groups`; `files` by their path, / written __."""
    for name, text in {"proc__self__cgroup": groups, **files}.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "quota", "threads"),
    [
        ("0::/\n", {"sys__fs__cgroup__cpu.max": "200000 100000\n"}, 2, 2),
        ("0::/\n", {"sys__fs__cgroup__cpu.max": "max 100000\n"}, None, 8),
        ("0::/\n", {"sys__fs__cgroup__cpu.max": "50000 100000\n"}, 0.5, 1),
        ("0::/\n", {"sys__fs__cgroup__cpu.max": "3200000 100000\n"}, 32, 8),
        # A group above limits more than the process's own.
        (
            "0::/pod/own\n",
            {
                "sys__fs__cgroup__pod__cpu.max": "150000 100000\n",
                "sys__fs__cgroup__pod__own__cpu.max": "400000 100000\n",
            },
            1.5,
            1,
        ),
        # In a container the path is the host's, and is not there.
        ("0::/kubepods/x\n", {"sys__fs__cgroup__cpu.max": "300000 100000\n"}, 3, 3),
        (
            "4:memory:/\n2:cpu,cpuacct:/docker/x\n0::/\n",
            {
                "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "400000\n",
                "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n",
            },
            4,
            4,
        ),
        (
            "1:cpu:/\n",
            {
                "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1\n",
                "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000\n",
            },
            None,
            8,
        ),
    ],
)
def test_the_smallest_quota_counts(
    groups: str, files: dict[str, str], quota: float | None, threads: int, tmp_path: Path
) -> None:
    root = machine(tmp_path, groups, **files)
    assert cpu_quota(root) == quota
    assert all_threads(root) == threads


def test_without_control_groups_it_is_the_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all_threads(tmp_path) == 8
    assert limited_by(tmp_path) == ""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert all_threads(tmp_path) == 3
    assert limited_by(tmp_path) == "affinity, of the machine's 8 processors"


def test_what_limits_is_said(tmp_path: Path) -> None:
    root = machine(tmp_path, "0::/\n", **{"sys__fs__cgroup__cpu.max": "250000 100000\n"})
    assert limited_by(root) == "a quota of 2.5 of the machine's 8 processors"
    wide = machine(tmp_path, "0::/\n", **{"sys__fs__cgroup__cpu.max": "900000 100000\n"})
    assert limited_by(wide) == ""
