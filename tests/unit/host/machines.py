"""What ``/proc`` says on the machines that nsrun is made for."""

from __future__ import annotations

from nsrun.host.cgroups import CgroupSetup, describe_cgroups
from nsrun.host.facts import CAPABILITIES, Features, HostFacts, parse_kernel
from nsrun.host.mountinfo import parse_mountinfo

# Debian 12, systemd 252, Linux 6.1.
DEBIAN_12 = r"""
22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
23 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
28 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,discard,errors=remount-ro
30 22 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
75 28 0:41 / /mnt/with\040blank\134slash rw,relatime shared:50 - tmpfs tmpfs rw
"""
DEBIAN_12_CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma misc\n"
DEBIAN_12_SUBTREE = "cpuset cpu io memory pids\n"
DEBIAN_12_PROC_CGROUPS = """#subsys_name	hierarchy	num_cgroups	enabled
cpuset	0	71	1
cpu	0	71	1
cpuacct	0	71	1
memory	0	71	1
pids	0	71	1
"""

# Ubuntu 22.04, systemd 249, Linux 5.15; snapd shows the hierarchy once more.
UBUNTU_2204 = """
24 31 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
112 31 0:30 / /run/snapd/ns/cgroup/sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""
UBUNTU_2204_CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma misc\n"
UBUNTU_2204_SUBTREE = "cpuset cpu io memory pids\n"

# A small virtual machine without systemd: v1 controllers, and a v2 hierarchy with hardly anything.
HYBRID = """
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""

# systemd.unified_cgroup_hierarchy=0 of old: pairs of controllers, no v2 at all, no pids.
V1 = """
30 23 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:10 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,cpu,cpuacct
34 30 0:30 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:12 - cgroup cgroup rw,memory
35 30 0:31 / /sys/fs/cgroup/freezer ro,nosuid,nodev,noexec,relatime shared:13 - cgroup cgroup rw,freezer
garbage
36 30
"""
V1_PROC_CGROUPS = """#subsys_name	hierarchy	num_cgroups	enabled
cpu	3	71	1
memory	4	71	1
pids	0	1	0
"""


def setup(mountinfo: str, *, controllers: str = "", subtree: str = "", proc_cgroups: str = "") -> CgroupSetup:
    """The cgroups of a machine, as its texts describe them."""
    described = describe_cgroups(parse_mountinfo(mountinfo), proc_cgroups)
    return described.with_unified(controllers=controllers, subtree=subtree)


def debian_12() -> CgroupSetup:
    return setup(
        DEBIAN_12,
        controllers=DEBIAN_12_CONTROLLERS,
        subtree=DEBIAN_12_SUBTREE,
        proc_cgroups=DEBIAN_12_PROC_CGROUPS,
    )


def machine(cgroups: CgroupSetup, *, withheld: tuple[str, ...] = (), release: str = "6.1.0-18-amd64") -> HostFacts:
    """An otherwise ordinary machine."""
    return HostFacts(
        kernel=parse_kernel(release),
        machine="x86_64",
        boot_id="1c3f3f0c-0000-4000-8000-000000000000",
        cpus=4,
        memory_total=8 << 30,
        swap_total=0,
        cgroups=cgroups,
        capabilities=frozenset(CAPABILITIES) - set(withheld),
        withheld=withheld,
        lsms=("capability", "apparmor"),
        features=Features(overlay=True, user_namespaces=True, nf_tables=True, seccomp=True, rcu_expedited=False),
        systemd=True,
        sysctls={"kernel.pid_max": "4194304", "fs.inotify.max_user_instances": "128"},
    )
