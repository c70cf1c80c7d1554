"""How many processors this process may use: those of the machine, of its affinity, of its quota."""

import os
from pathlib import Path

SYSTEM = Path("/")
V1, V2 = "sys/fs/cgroup/cpu", "sys/fs/cgroup"


def all_threads(root: Path = SYSTEM) -> int:
    """What `threads: all` means. Of a quota of 2.5 processors two: a third would be throttled.

    Args:
        root: where /proc and /sys lie, for tests.
    """
    allowed, quota = processors(), cpu_quota(root)
    return allowed if quota is None else min(allowed, max(1, int(quota)))


def limited_by(root: Path = SYSTEM) -> str:
    """What keeps this process from some of the machine's processors, one line; empty: nothing."""
    quota, allowed, machine = cpu_quota(root), processors(), os.cpu_count() or 1
    if quota is not None and quota < allowed:
        return f"a quota of {quota:g} of the machine's {machine} processors"
    return f"affinity, of the machine's {machine} processors" if allowed < machine else ""


def processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path = SYSTEM) -> float | None:
    """Processors that the control groups of this process leave it; None where they set no limit.

    Of both versions, and of every group above its own: the smallest counts
    (docs.kernel.org: cgroup-v1 and cgroup-v2, cpu.cfs_quota_us and cpu.max).
    """
    shares = [share for folder in groups(root) if (share := of_group(folder)) is not None]
    return min(shares, default=None)


def groups(root: Path) -> list[Path]:
    """The folders of all control groups that this process is in, as far as they can be seen."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, controllers, place = line.split(":", 2)
        if number == "0" and not controllers:
            top = root / V2
        elif "cpu" in controllers.split(","):
            top = root / V1
        else:
            continue
        own = top / place.lstrip("/")
        # In a container the path may be the host's; the top folder is then the container's own.
        found += [folder for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return found


def of_group(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
    except (OSError, ValueError):
        return None
    return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)
