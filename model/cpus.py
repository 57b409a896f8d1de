"""CPUs: how many cores this process may use, by its affinity mask and its container's quota.

A container's quota is a number of microseconds of all cores together in each period. If threads
exceed it, all of them are stopped for the rest of the period, so that more threads than the quota
allows are slower than fewer.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def usable_cpus(root: Path = ROOT) -> int:
    """The number of cores in the affinity mask, or the quota of a control group, rounded down, if
    that is less; at least 1. /proc and the control groups are looked for under `root`."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in quotas(root))]))


def quotas(root: Path = ROOT) -> Iterator[float]:
    """The quotas, in cores, of this process's control group and of all groups above it, in
    version 2 (cpu.max) and version 1 (cpu.cfs_quota_us).

    See cgroups(7), and in the kernel's documentation cgroup-v2.rst and sched-bwc.rst.
    """
    groups = _process_groups(root)
    for kind, controllers, top, mounted in _mounts(root):
        group = groups.get("" if kind == "cgroup2" else "cpu")
        if group is None or (kind == "cgroup" and "cpu" not in controllers):
            continue
        mount = root / mounted.lstrip("/")
        # In a container the group's name may be the host's, while its folder is the mounted one.
        inside = PurePosixPath(group)
        inside = inside.relative_to(top) if inside.is_relative_to(top) else PurePosixPath()
        for folder in (inside, *inside.parents):
            quota = _quota(mount / folder)
            if quota is not None:
                yield quota


def _process_groups(root: Path) -> dict[str, str]:
    """This process's group for each controller of version 1, and under "" that of version 2."""
    groups = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")  # after the hierarchy's number
        controllers, _, group = rest.partition(":")
        groups.update(dict.fromkeys(controllers.split(","), group))
    return groups


def _mounts(root: Path) -> Iterator[tuple[str, list[str], str, str]]:
    """For each mount: cgroup or cgroup2, its controllers, the mounted group, the mount point."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        mount, _, filesystem = line.partition(" - ")
        if filesystem.startswith(("cgroup ", "cgroup2 ")):
            _, _, _, top, mounted, *_ = mount.split(" ")
            kind, _, options = filesystem.split(" ", 2)
            yield kind, options.split(","), top, mounted


def _quota(group: Path) -> float | None:
    """The quota of a group in cores, or None."""
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
