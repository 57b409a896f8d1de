"""The cores that a process may keep busy, from files as the kernel writes them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.cpus import quotas, usable_cpus

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw master:11 - cgroup cgroup rw,cpu,cpuacct"
V1_OTHER = "34 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset"


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """An affinity mask of eight, whatever this machine has."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def machine(root: Path, mounts: str, groups: str, limits: dict[str, str]) -> Path:
    """A root folder with what /proc and the control groups say."""
    files = {"proc/self/mountinfo": f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mounts}\n"}
    files |= {"proc/self/cgroup": f"{groups}\n"}
    files |= {f"sys/fs/cgroup/{name}": f"{value}\n" for name, value in limits.items()}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def v1(quota: int, folder: str = "", period: int = 100_000) -> dict[str, str]:
    own = f"cpu,cpuacct/{folder}"
    return {f"{own}cpu.cfs_quota_us": str(quota), f"{own}cpu.cfs_period_us": str(period)}


CASES = {
    "no files at all": ("", "", {}, 8),
    "version 2, a container sees its group as the root": (
        V2, "0::/", {"cpu.max": "200000 100000"}, 2,
    ),
    "version 2, no quota": (V2, "0::/", {"cpu.max": "max 100000"}, 8),
    "version 2, another period": (V2, "0::/", {"cpu.max": "150000 50000"}, 3),
    "half a core is one": (V2, "0::/", {"cpu.max": "50000 100000"}, 1),
    "a part of a core is none: its threads would be stopped": (
        V2, "0::/", {"cpu.max": "390000 100000"}, 3,
    ),
    "the quota is over the mask": (V2, "0::/", {"cpu.max": "1600000 100000"}, 8),
    "version 2, the group above is the tighter one": (
        V2,
        "0::/kubepods.slice/pod1.slice/box",
        {
            "kubepods.slice/cpu.max": "600000 100000",
            "kubepods.slice/pod1.slice/cpu.max": "200000 100000",
            "kubepods.slice/pod1.slice/box/cpu.max": "max 100000",
        },
        2,
    ),
    "version 1, no quota": (V1.format(top="/"), "4:cpu,cpuacct:/", v1(-1), 8),
    "version 1, nested": (
        V1.format(top="/"),
        "4:cpu,cpuacct:/docker/abc",
        {**v1(-1), **v1(300_000, "docker/"), **v1(500_000, "docker/abc/")},
        3,
    ),
    "version 1, a container's group is named as the host sees it": (
        V1.format(top="/docker/abc"), "4:cpu,cpuacct:/docker/abc", v1(100_000), 1,
    ),
    "version 1, the group is elsewhere than the mount": (
        V1.format(top="/docker/abc"), "4:cpu,cpuacct:/else", v1(200_000), 2,
    ),
    "both versions: the controller is one's only": (
        "\n".join((V1.format(top="/"), V1_OTHER, V2.replace("cgroup rw", "cgroup/unified rw", 1))),
        "4:cpu,cpuacct:/a\n3:cpuset:/b\n0::/",
        {**v1(-1), **v1(250_000, "a/"), "cpuset/b/cpu.cfs_quota_us": "1"},
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_tightest_quota_counts_in_whole_cores(case: str, tmp_path: Path) -> None:
    mounts, groups, limits, expected = CASES[case]
    assert usable_cpus(machine(tmp_path, mounts, groups, limits)) == expected


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 1 in which this thread may be."""
    parent = Path("/sys/fs/cgroup/cpu")
    if not os.access(parent / "tasks", os.W_OK):
        pytest.skip("no control group of version 1 can be made here")
    group = parent / f"quintet-{os.getpid()}"
    group.mkdir()
    yield group
    (parent / "tasks").write_text("0")
    group.rmdir()


def test_a_real_control_group_is_found(group: Path) -> None:
    (group / "cpu.cfs_quota_us").write_text("150000")
    before = list(quotas())
    (group / "tasks").write_text("0")  # this thread
    # `self` is the process; its main thread is the one that runs the tests.
    assert list(quotas()) == [1.5, *before]
    assert usable_cpus() == 1
