"""Cgroups on this machine: limits that the kernel took, processes that were born in them, ended and counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import RuntimeFailure
from nsrun.host.cgroups import CgroupMode
from nsrun.host.facts import HostFacts, probe
from nsrun.model.running import ContainerId
from nsrun.runtime import cgroup_tree
from nsrun.runtime.cgroup_open import open_cgroups
from nsrun.runtime.cgroup_v1 import V1Tree
from nsrun.runtime.cgroup_v2 import V2Tree
from nsrun.runtime.cgroup_view import CgroupView
from nsrun.runtime.cgroups import Cgroups
from tests.system.cgroups.processes import is_gone, memberships, running, settled
from tests.unit.runtime.pods import container, pod
from tests.waiting import eventually

pytestmark = pytest.mark.root

MIB = 1024 * 1024
WEB = ContainerId(uid="uid-1", name="web", attempt=0)


def as_v1(facts: HostFacts) -> HostFacts:
    """The same machine without its v2 hierarchy."""
    return replace(facts, cgroups=replace(facts.cgroups, mode=CgroupMode.V1, unified=None))


@pytest.fixture(params=["as it is", "v1"])
def facts(request: pytest.FixtureRequest) -> HostFacts:
    facts = probe()
    if request.param == "v1":
        if facts.cgroups.mode is CgroupMode.V2:
            pytest.skip("this machine has no v1 controllers")
        return as_v1(facts)
    return facts


@pytest.fixture
def opened(facts: HostFacts, cgroup_root: str) -> Iterator[Cgroups]:
    made = open_cgroups(facts, cgroup_root, pids_limit=64)
    yield made
    made.close()


def directories(facts: HostFacts, root: str) -> list[Path]:
    """Our root, in each hierarchy where it is."""
    setup = facts.cgroups
    tops = [hierarchy.directory for hierarchy in setup.hierarchies]
    tops += [setup.unified.directory] if setup.unified is not None else []
    return [Path(top, root) for top in tops if Path(top, root).is_dir()]


def value(facts: HostFacts, path: str, v1: str, v2: str) -> str:
    """What the kernel says: the v1 file, or where its controller is not in v1, the v2 file."""
    controller = v1.partition(".")[0]
    directory = facts.cgroups.directory(controller)
    assert directory is not None
    is_v2 = facts.cgroups.unified is not None and directory == facts.cgroups.unified.directory
    return Path(directory, path, v2 if is_v2 else v1).read_text().strip()


def test_the_kernel_takes_every_limit(facts: HostFacts, opened: Cgroups) -> None:
    web = container(requests={"cpu": 250}, limits={"cpu": 500, "memory": 64 * MIB * 1000})
    path = opened.create_pod(pod(web))
    with opened.create_container(pod(web), WEB, None) as sandbox, opened.create_container(pod(web), WEB, web) as made:
        assert (sandbox.warnings, made.warnings) == ((), ())
        assert made.path == f"{path}/web-0"
        assert value(facts, made.path, "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
        assert value(facts, made.path, "cpu.shares", "cpu.weight") in ("256", "35")
        assert value(facts, made.path, "cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")
        assert value(facts, path, "pids.max", "pids.max") == "64"
    assert value(facts, path, "cpu.shares", "cpu.weight") in ("256", "10")
    assert opened.owners() == {"uid-1"}


def test_a_container_is_where_it_belongs_from_its_first_moment(facts: HostFacts, opened: Cgroups) -> None:
    with opened.create_container(pod(), WEB, container()) as made, running(made, "sleep", "1000") as pid:
        settled(pid, "sleep")
        inside = [path for path in memberships(pid).values() if path == f"/{made.path}"]
        assert len(inside) == len(made.procs) + (made.into is not None)
        assert opened.pids("uid-1") == {pid}
        opened.kill_container(WEB)
        eventually(lambda: is_gone(pid), what="its parent hears of it")


def test_nothing_outlives_a_kill(opened: Cgroups) -> None:
    """Children that fork, orphans of a session of their own, a stopped one."""
    program = "setsid sleep 100 & (sleep 100 & kill -STOP $!) & for _ in $(seq 1000); do sleep 100 & done; wait"
    with (
        opened.create_container(pod(), WEB, None) as sandbox,
        opened.create_container(pod(), WEB, container()) as made,
        running(sandbox, "sleep", "1000") as pause,
        running(made, "sh", "-c", program),
    ):
        settled(pause, "sleep")
        eventually(lambda: len(opened.pids("uid-1")) > 20, what="many processes")
        opened.kill_container(WEB)
        assert opened.pids("uid-1") == {pause}
        opened.kill_pod("uid-1")
        assert opened.pids("uid-1") == set()
        opened.remove_pod("uid-1")
        assert opened.owners() == set()


def test_killing_what_is_not_there(opened: Cgroups) -> None:
    opened.kill_pod("uid-1")
    opened.kill_container(WEB)
    opened.remove_container(WEB)
    opened.remove_pod("uid-1")
    assert not opened.oom_killed(WEB)


def test_running_out_of_memory_is_told(opened: Cgroups) -> None:
    small = container(limits={"memory": 16 * MIB * 1000})
    hungry = "x = bytearray(256 << 20)"
    with opened.create_container(pod(small), WEB, small) as made:
        assert not opened.oom_killed(WEB)
        with running(made, sys.executable, "-I", "-S", "-c", hungry) as pid:
            eventually(lambda: is_gone(pid), what="the hungry one is dead")
    assert opened.oom_killed(WEB)
    assert not opened.oom_killed(replace(WEB, attempt=1))


def test_the_limit_of_processes_holds(opened: Cgroups) -> None:
    with (
        opened.create_container(pod(), WEB, container()) as made,
        running(made, "sh", "-c", "exec 2>/dev/null; for _ in $(seq 100); do sleep 100 & done") as pid,
    ):
        eventually(lambda: is_gone(pid), what="the shell was refused a fork, and ended")
        assert len(opened.pids("uid-1")) == 63
        opened.kill_container(WEB)


def test_removing_what_runs_is_refused_and_later_done(opened: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup_tree, "_REMOVE_SECONDS", 0.05)
    with opened.create_container(pod(), WEB, container()) as made, running(made, "sleep", "1000"):
        with pytest.raises(RuntimeFailure, match="busy"):
            opened.remove_container(WEB)
        opened.kill_container(WEB)
        opened.remove_container(WEB)
        opened.remove_container(WEB)
    assert opened.owners() == {"uid-1"}


def test_what_cannot_be_killed_is_told(opened: Cgroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits for a dead disk outlives SIGKILL; here the kill is withheld instead."""
    for tree in (V1Tree, V2Tree):
        monkeypatch.setattr(tree, "kill", lambda self, path, deadline: False)
    with opened.create_container(pod(), WEB, container()) as made, running(made, "sleep", "1000") as pid:
        with pytest.raises(RuntimeFailure, match=rf'cannot kill container "web": 1 of its .* by 10 s: {pid}$'):
            opened.kill_container(WEB)
        monkeypatch.undo()
        opened.kill_container(WEB)


def test_everything_goes_with_the_root(facts: HostFacts, opened: Cgroups, cgroup_root: str) -> None:
    opened.create_pod(pod())
    opened.create_pod(pod(container(requests={"cpu": 100}), uid="uid-2"))
    assert directories(facts, cgroup_root)
    opened.remove_root()
    opened.remove_root()
    assert directories(facts, cgroup_root) == []


def test_a_second_look_finds_the_same(facts: HostFacts, opened: Cgroups, cgroup_root: str) -> None:
    opened.create_pod(pod(container(requests={"cpu": 1000}), uid="one"))
    opened.create_pod(pod(uid="two"))
    again = open_cgroups(facts, cgroup_root)
    assert again.owners() == {"one", "two"}
    again.create_pod(pod(container(requests={"cpu": 1000}), uid="three"))
    shares = value(facts, f"{cgroup_root}/burstable", "cpu.shares", "cpu.weight")
    assert shares in ("2048", "78", "79")
    again.remove_pod("one")
    assert value(facts, f"{cgroup_root}/burstable", "cpu.shares", "cpu.weight") in ("1024", "39")
    again.close()


def test_a_pod_made_again_has_its_new_limits(facts: HostFacts, opened: Cgroups) -> None:
    opened.create_pod(pod(container(requests={"cpu": 1}, limits={"cpu": 500, "memory": 64 * MIB * 1000})))
    path = opened.create_pod(pod(container(requests={"cpu": 1000})))
    assert value(facts, path, "memory.limit_in_bytes", "memory.max") in ("max", str((1 << 63) - 4096))
    assert value(facts, path, "cpu.cfs_quota_us", "cpu.max") in ("-1", "max 100000")
    assert value(facts, path, "cpu.shares", "cpu.weight") in ("1024", "39")


def test_a_refusing_hierarchy_is_named(facts: HostFacts, cgroup_root: str) -> None:
    """One controller's directory does not let us make a cgroup: the others are used."""
    if facts.cgroups.mode is CgroupMode.V2:
        pytest.skip("this machine has one hierarchy")
    broken = tuple(
        replace(h, directory="/proc/self") if "memory" in h.controllers else h for h in facts.cgroups.hierarchies
    )
    opened = open_cgroups(replace(facts, cgroups=replace(facts.cgroups, hierarchies=broken)), cgroup_root)
    assert len(opened.warnings) == 1
    assert opened.warnings[0].startswith('cannot use "memory": creating "')
    web = container(limits={"memory": MIB * 1000})
    with opened.create_container(pod(web), WEB, web) as made:
        assert made.warnings == (
            'cannot enforce the memory limit of container "web": this machine offers no "memory" controller',
        )
    opened.close()


def script(view: CgroupView) -> str:
    """The view, carried out with mount(8) in a cgroup namespace."""
    lines = []
    for mount in view.mounts:
        options = ",".join((*mount.options, "nosuid,nodev,noexec,relatime"))
        lines += [f"mkdir -p {mount.destination}", f"mount -t {mount.type} -o {options} none {mount.destination}"]
        if mount.read_only:
            lines.append(f"mount -o remount,bind,ro {mount.destination}")
    lines += [f"ln -s {target} {path}" for path, target in view.links]
    if view.seal:
        lines.append(f"mount -o remount,bind,ro {view.seal}")
    return "\n".join(lines)


LOOK = """
exec 2> "$1/errors"
set -e
mount --make-rprivate /
mount -t tmpfs none /sys/fs/cgroup  # a container's /sys is new; the kernel refuses cgroup2 upon the host's cgroup2
{mounts}
cat /proc/self/cgroup > "$1/cgroup"
for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [ -d "$d" ] || continue  # v2 has nothing below, and the pattern stays as it is
    if [ -f "$d/cgroup.procs" ]; then cat "$d/cgroup.procs" >> "$1/pids"; fi
    if mkdir "$d/x" 2>> "$1/refused"; then echo "$d" >> "$1/escaped"; fi
done
touch "$1/done"
exec sleep 1000
"""


def test_a_container_sees_its_own_cgroups_read_only(opened: Cgroups, tmp_path: Path) -> None:
    (tmp_path / "errors").touch()
    (tmp_path / "look").write_text(LOOK.format(mounts=script(opened.container_mounts("nsrun/poduid-1/web-0"))))
    look = ("unshare", "--cgroup", "--mount", "sh", f"{tmp_path}/look", f"{tmp_path}")
    with opened.create_container(pod(), WEB, container()) as made, running(made, *look) as pid:
        eventually(lambda: (tmp_path / "done").exists() or is_gone(pid), what="it has looked")
        assert (tmp_path / "errors").read_text() == ""
        places = {line.rpartition(":")[2] for line in (tmp_path / "cgroup").read_text().splitlines()}
        assert not [place for place in places if made.path in place]
        seen = {int(number) for number in (tmp_path / "pids").read_text().split()}
        assert pid in seen
        assert [n for n in seen - opened.pids("uid-1") if Path(f"/proc/{n}").exists()] == []
        assert not (tmp_path / "escaped").exists()
        refusals = (tmp_path / "refused").read_text().splitlines()
        assert refusals
        assert all("Read-only file system" in line for line in refusals)


def test_mounts_of_the_host_stay_as_they_are(opened: Cgroups) -> None:
    before = subprocess.run(["findmnt", "-t", "cgroup,cgroup2"], capture_output=True, check=True).stdout
    opened.create_pod(pod())
    assert subprocess.run(["findmnt", "-t", "cgroup,cgroup2"], capture_output=True, check=True).stdout == before
