"""What is said about a machine, and what to do about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nsrun.host.cgroups import Share, user_service
from nsrun.host.doctor import Finding, Level, examine
from nsrun.host.facts import HostFacts
from tests.unit.host import machines


def found(facts: HostFacts, subject: str) -> list[Finding]:
    return [finding for finding in examine(facts) if finding.subject == subject]


def test_an_ordinary_machine_is_well() -> None:
    findings = examine(machines.machine(machines.debian_12()))
    assert {finding.level for finding in findings} == {Level.OK}
    assert {"kernel", "cgroups", "capabilities", "overlayfs", "nf_tables", "seccomp"} <= {f.subject for f in findings}


@pytest.mark.parametrize(
    ("release", "level"),
    [("4.19.0", Level.ERROR), ("5.13.0", Level.WARNING), ("5.15.0", Level.OK), ("6.18.1", Level.OK)],
)
def test_old_kernels(release: str, level: Level) -> None:
    (finding,) = found(machines.machine(machines.debian_12(), release=release), "kernel")
    assert finding.level is level
    assert release in finding.text


def test_hybrid_is_named_with_its_remedy() -> None:
    (finding,) = found(machines.machine(machines.setup(machines.HYBRID)), "cgroups")
    assert finding.level is Level.WARNING
    assert finding.text.startswith("hybrid: v1 controllers, with a v2 hierarchy at /sys/fs/cgroup/unified")
    assert finding.hint == "boot with systemd.unified_cgroup_hierarchy=1"


def test_a_missing_controller_is_named_with_its_remedy() -> None:
    cgroups = machines.setup(machines.V1, proc_cgroups=machines.V1_PROC_CGROUPS)
    texts = {finding.text: finding.hint for finding in found(machines.machine(cgroups), "cgroups")}
    assert texts['no "pids" controller: the number of a pod\'s processes is not limited'] == (
        "boot with cgroup_enable=pids"
    )
    (finding,) = [
        f
        for f in found(machines.machine(machines.setup(machines.DEBIAN_12, controllers="cpu memory")), "cgroups")
        if f.level is Level.WARNING
    ]
    assert finding.text.startswith('no "pids" controller')
    assert "cgroup.subtree_control" in finding.hint
    not_mounted = machines.setup(machines.V1.replace("rw,memory", "rw,rdma"))
    hints = [f.hint for f in found(machines.machine(not_mounted), "cgroups")]
    assert "mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory" in hints


def test_no_cgroups_at_all_is_no_error() -> None:
    """Pods run without."""
    (finding,) = found(machines.machine(machines.setup("")), "cgroups")
    assert finding.level is Level.WARNING
    assert "no limit is enforced" in finding.text
    assert finding.hint == "as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup"


def of_user(text: str, share: Share) -> list[Finding]:
    return found(machines.machine(replace(machines.setup(text), share=share)), "cgroups")


@pytest.mark.parametrize("text", [machines.HYBRID, machines.V1])
def test_on_v1_a_user_is_told_what_to_boot_with(text: str) -> None:
    (finding,) = of_user(text, Share(manager=False))
    assert finding.level is Level.WARNING
    assert "only root makes cgroups" in finding.text
    assert finding.hint == "boot with systemd.unified_cgroup_hierarchy=1, or run nsrun as root"


def test_without_a_user_manager_lingering_is_the_remedy() -> None:
    (finding,) = of_user(machines.DEBIAN_12, Share(manager=False))
    assert (finding.level, "loginctl enable-linger" in finding.hint) == (Level.WARNING, True)


def test_a_controller_that_is_not_delegated_is_named_with_the_drop_in() -> None:
    well, finding = of_user(machines.DEBIAN_12, Share(manager=True, controllers=frozenset({"memory", "pids"})))
    assert (well.level, finding.level) == (Level.OK, Level.WARNING)
    assert finding.text == 'no "cpu" controller: cpu requests and limits are not enforced'
    assert "/etc/systemd/system/user@.service.d/delegate.conf" in finding.hint
    assert "Delegate=cpu cpuset io memory pids" in finding.hint
    (well,) = of_user(machines.DEBIAN_12, Share(manager=True, controllers=frozenset({"cpu", "memory", "pids"})))
    assert well.level is Level.OK


def test_the_service_of_the_user_manager() -> None:
    inside = "0::/user.slice/user-7.slice/user@7.service/app.slice/nsrun.scope/supervisor\n"
    assert user_service(inside, 0) == "user.slice/user-7.slice/user@7.service"
    assert user_service("0::/user.slice/user-7.slice/session-2.scope\n", 7) == (
        "user.slice/user-7.slice/user@7.service"
    )


def test_read_only_hierarchies() -> None:
    v2 = machines.setup(
        machines.DEBIAN_12.replace("/sys/fs/cgroup rw", "/sys/fs/cgroup ro"), controllers="cpu memory pids"
    )
    assert "mount -o remount,rw /sys/fs/cgroup" in [f.hint for f in found(machines.machine(v2), "cgroups")]
    v1 = machines.setup(machines.HYBRID.replace("/memory rw", "/memory ro"))
    assert "mount -o remount,rw /sys/fs/cgroup/memory" in [f.hint for f in found(machines.machine(v1), "cgroups")]


def test_withheld_capabilities_are_named() -> None:
    withheld = ("CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_SYS_TIME")
    findings = found(machines.machine(machines.debian_12(), withheld=withheld), "capabilities")
    assert [(f.level, name in f.text) for f, name in zip(findings, withheld, strict=True)] == [
        (Level.ERROR, True),
        (Level.WARNING, True),
        (Level.WARNING, True),
    ]


def test_each_missing_feature_has_a_remedy() -> None:
    well = machines.machine(machines.debian_12())
    features = replace(well.features, overlay=False, nf_tables=False, seccomp=False, user_namespaces=False)
    bad = [f for f in examine(replace(well, features=features, lsms=("capability",))) if f.level is not Level.OK]
    assert {f.subject for f in bad} == {"overlayfs", "nf_tables", "seccomp", "user namespaces", "security modules"}
    assert all(f.hint for f in bad)


def test_small_sysctls_and_swap() -> None:
    facts = replace(
        machines.machine(machines.setup(machines.HYBRID)), swap_total=1 << 30, sysctls={"kernel.pid_max": "100"}
    )
    (sysctl,) = found(facts, "sysctls")
    assert sysctl.hint == "sysctl -w kernel.pid_max=4096"
    assert [f.level for f in found(facts, "memory")] == [Level.OK, Level.WARNING]


@pytest.mark.parametrize(
    ("release", "namespaces", "has"),
    [("6.1.0", True, True), ("5.19.0", True, True), ("5.18.0", True, False), ("6.1.0", False, False)],
)
def test_users_of_a_pods_own(release: str, namespaces: bool, has: bool) -> None:
    facts = machines.machine(machines.debian_12(), release=release)
    facts = replace(facts, features=replace(facts.features, user_namespaces=namespaces))
    assert facts.has_pod_users is has
    (finding,) = found(facts, "user namespaces")
    assert (finding.level is Level.OK) is has
