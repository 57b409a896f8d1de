"""CPUs: how many cores this process may keep busy.

That is not the machine's number of cores. The system may pin a process to some of them (its
affinity mask), and a container is usually held to a quota: so many microseconds of all cores
together in each period. Threads over the quota are stopped together for the rest of each period,
and are slower than fewer threads.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def usable_cpus(root: Path = ROOT) -> int:
    """The cores of the affinity mask, or fewer where a control group has a quota of fewer: whole
    ones, and at least one. `root` is where /proc and the mounted control groups are looked for."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in quotas(root))]))


def quotas(root: Path = ROOT) -> Iterator[float]:
    """The quota of each control group that this process is in, in cores: its own group's and those
    of all groups above it, of version 2 (cpu.max) and version 1 (cpu.cfs_quota_us).

    See cgroups(7), and in the kernel's documentation cgroup-v2.rst and sched-bwc.rst.
    """
    own = _own_groups(root)
    for kind, controllers, top, mounted in _mounts(root):
        group = own.get("" if kind == "cgroup2" else "cpu")
        if group is None or (kind == "cgroup" and "cpu" not in controllers):
            continue
        at = root / mounted.lstrip("/")
        # In a container the group may be named as the host sees it, and be mounted as the top.
        inside = PurePosixPath(group)
        inside = inside.relative_to(top) if inside.is_relative_to(top) else PurePosixPath()
        for folder in (inside, *inside.parents):
            quota = _quota(at / folder)
            if quota is not None:
                yield quota


def _own_groups(root: Path) -> dict[str, str]:
    """This process' group for each controller of version 1; under "" that of version 2."""
    groups = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, own = line.partition(":")  # behind the hierarchy's number
        controllers, _, group = own.partition(":")
        groups.update(dict.fromkeys(controllers.split(","), group))
    return groups


def _mounts(root: Path) -> Iterator[tuple[str, list[str], str, str]]:
    """Mounted control groups: cgroup or cgroup2, controllers, which group is mounted, and where."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        here, _, there = line.partition(" - ")
        if there.startswith(("cgroup ", "cgroup2 ")):
            _, _, _, top, mounted, *_ = here.split(" ")
            kind, _, options = there.split(" ", 2)
            yield kind, options.split(","), top, mounted


def _quota(group: Path) -> float | None:
    """Cores, or None for no quota."""
    if limits := _read(group / "cpu.max").split():
        quota, period = limits[0], limits[1]
    else:
        quota = _read(group / "cpu.cfs_quota_us").strip()
        period = _read(group / "cpu.cfs_period_us").strip()
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
