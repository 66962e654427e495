"""Reading a machine: pure parsers against what the supported machines say."""

from __future__ import annotations

import pytest

from nsrun.host.cgroups import CgroupMode, CgroupSetup, Hierarchy
from nsrun.host.facts import (
    CAPABILITIES,
    Kernel,
    has_module,
    parse_capabilities,
    parse_kernel,
    parse_meminfo,
    probe,
)
from nsrun.host.mountinfo import parse_mountinfo
from tests.unit.host import machines


def test_debian_12_is_pure_v2() -> None:
    found = machines.debian_12()
    assert (found.mode, found.hierarchies, found.missing) == (CgroupMode.V2, (), ())
    assert found.unified is not None
    assert found.unified.directory == "/sys/fs/cgroup"
    assert found.unified.writable
    assert "memory" in found.unified.subtree
    assert "hugetlb" not in found.unified.subtree
    assert found.directory("cpu") == "/sys/fs/cgroup"
    assert found.disabled == frozenset()


def test_ubuntu_2204_is_pure_v2_at_its_first_mount() -> None:
    found = machines.setup(
        machines.UBUNTU_2204, controllers=machines.UBUNTU_2204_CONTROLLERS, subtree=machines.UBUNTU_2204_SUBTREE
    )
    assert found.mode is CgroupMode.V2
    assert found.unified is not None
    assert found.unified.directory == "/sys/fs/cgroup"


def test_hybrid_has_v1_controllers_and_a_v2_hierarchy() -> None:
    found = machines.setup(machines.HYBRID, controllers="hugetlb\n")
    assert (found.mode, found.missing) == (CgroupMode.HYBRID, ())
    assert found.unified is not None
    assert (found.unified.directory, found.unified.controllers) == ("/sys/fs/cgroup/unified", frozenset({"hugetlb"}))
    assert found.directory("memory") == "/sys/fs/cgroup/memory"
    assert found.directory("hugetlb") == "/sys/fs/cgroup/unified"
    assert found.directory("rdma") is None
    assert Hierarchy(directory="/sys/fs/cgroup/systemd", controllers=(), name="systemd") in found.hierarchies


def test_v1_has_pairs_of_controllers_and_tells_what_is_missing() -> None:
    found = machines.setup(machines.V1, proc_cgroups=machines.V1_PROC_CGROUPS)
    assert (found.mode, found.unified, found.missing) == (CgroupMode.V1, None, ("pids",))
    assert found.directory("cpu") == found.directory("cpuacct") == "/sys/fs/cgroup/cpu,cpuacct"
    assert found.disabled == frozenset({"pids"})
    assert [h.directory for h in found.hierarchies if not h.writable] == ["/sys/fs/cgroup/freezer"]


def test_a_machine_without_cgroups() -> None:
    found = machines.setup("")
    assert (found.mode, found.missing) == (CgroupMode.NONE, ("cpu", "memory", "pids"))
    assert found == CgroupSetup(mode=CgroupMode.NONE)


def test_mount_points_are_read_as_they_are_named() -> None:
    mounts = parse_mountinfo(machines.DEBIAN_12)
    assert [mount.point for mount in mounts][-1] == r"/mnt/with blank\slash"
    assert mounts[2].source == "/dev/vda1"
    assert mounts[2].writable


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.1.0-18-amd64", Kernel(major=6, minor=1)),
        ("5.15.0-105-generic", Kernel(major=5, minor=15)),
        ("6.18", Kernel(major=6, minor=18)),
        ("odd", Kernel(major=0, minor=0)),
    ],
)
def test_kernels_are_ordered_by_version(release: str, expected: Kernel) -> None:
    assert parse_kernel(release) == expected
    assert parse_kernel(release).release == release


def test_capabilities_withheld_are_named() -> None:
    effective, withheld = parse_capabilities("Name:\tx\nCapPrm:\t0\nCapEff:\t000001fffeffffff\nCapBnd:\t0\n", 40)
    assert withheld == ("CAP_SYS_RESOURCE",)
    assert effective == frozenset(CAPABILITIES) - {"CAP_SYS_RESOURCE"}
    assert parse_capabilities("CapEff:\tff\n", 7)[1] == ()
    assert parse_capabilities("", 2)[1] == ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH")


def test_memory_is_in_bytes() -> None:
    assert parse_meminfo("MemTotal:       24684100 kB\nSwapTotal:     1024 kB\n") == (24684100 * 1024, 1 << 20)
    assert parse_meminfo("") == (0, 0)


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("kernel/fs/overlayfs/overlay.ko: kernel/fs/x.ko\n", True),
        ("kernel/fs/overlayfs/overlay.ko.zst:\n", True),
        ("overlay 151552 0 - Live 0x0000000000000000\n", True),
        ("kernel/fs/overlayfs/overlay.ko", True),
        ("kernel/fs/not-overlay.ko:\noverlay2 1 0\n", False),
        ("", False),
    ],
)
def test_modules_loaded_or_not(listed: str, found: bool) -> None:
    assert has_module("overlay", "", listed) is found


def test_this_machine_can_be_probed() -> None:
    facts = probe()
    assert facts.kernel >= Kernel(major=3, minor=0)
    assert facts.cpus >= 1
    assert facts.memory_total > 1 << 20
    assert len(facts.boot_id) == 36
    assert set(facts.withheld) | facts.capabilities <= set(CAPABILITIES)
    assert facts.cgroups.mode in CgroupMode
