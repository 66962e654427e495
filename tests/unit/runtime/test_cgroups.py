"""cgroup v2 in a directory that looks like a hierarchy: which files are written, at which levels, with what."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nsrun.errors import HostError, RuntimeFailure
from nsrun.host.cgroups import CgroupMode, CgroupSetup, Hierarchy, Unified
from nsrun.host.facts import HostFacts
from nsrun.host.userns import UserNamespace
from nsrun.model.running import ContainerId
from nsrun.runtime import cgroup_v2
from nsrun.runtime.cgroup_kill import parse_flat
from nsrun.runtime.cgroup_open import choose_hierarchies, open_cgroups
from nsrun.runtime.cgroup_tree import CgroupTree, write_file
from nsrun.runtime.cgroup_view import CgroupMount
from nsrun.runtime.cgroups import Cgroups
from nsrun.support import native
from nsrun.support.fds import Fd
from tests.unit.host import machines
from tests.unit.runtime.pods import container, pod

MIB = 1024 * 1024
WEB = ContainerId(uid="uid-1", name="web", attempt=3)

FILES = (
    "cgroup.subtree_control",
    "cpu.weight",
    "cpu.max",
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "memory.events",
    "pids.max",
)


@pytest.fixture(autouse=True)
def _no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain directory takes no program for devices; ``tests/system/cgroups/test_devices.py`` has real ones."""
    monkeypatch.setattr(native, "attach_device_program", lambda fd, program: None)


class Fake:
    """A directory that stands for a mounted v2 hierarchy: cgroups that exist already, with empty files."""

    def __init__(self, top: Path) -> None:
        self.top = top

    def make(self, *paths: str) -> None:
        for path in paths:
            directory = self.top / path
            directory.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                (directory / name).touch()

    def read(self, path: str) -> dict[str, str]:
        return {name: text for name in FILES if (text := (self.top / path / name).read_text())}

    def facts(self, *, controllers: frozenset[str] = frozenset({"cpu", "memory", "pids", "io"})) -> HostFacts:
        unified = Unified(directory=str(self.top), writable=True, controllers=controllers)
        return machines.machine(CgroupSetup(mode=CgroupMode.V2, unified=unified, missing=()))


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    made = Fake(tmp_path)
    made.make("", "nsrun", "nsrun/burstable", "nsrun/besteffort")
    return made


@pytest.fixture
def opened(fake: Fake) -> Iterator[Cgroups]:
    cgroups = open_cgroups(fake.facts(), "nsrun", pids_limit=100)
    yield cgroups
    cgroups.close()


def test_controllers_are_handed_on_at_every_level(fake: Fake, opened: Cgroups) -> None:
    for level in ("", "nsrun", "nsrun/burstable", "nsrun/besteffort"):
        assert fake.read(level)["cgroup.subtree_control"] == "+cpu +io +memory +pids"
    assert opened.warnings == ()


def test_a_guaranteed_pod_lives_in_the_root(fake: Fake, opened: Cgroups) -> None:
    fake.make("nsrun/poduid-1", "nsrun/poduid-1/web-3", "nsrun/poduid-1/sandbox")
    web = container(limits={"cpu": 500, "memory": 64 * MIB * 1000})
    assert opened.create_pod(pod(web)) == "nsrun/poduid-1"
    assert fake.read("nsrun/poduid-1") == {
        "cgroup.subtree_control": "+cpu +io +memory +pids",
        "cpu.weight": "20",
        "cpu.max": "50000 100000",
        "memory.max": str(64 * MIB),
        "pids.max": "100",
    }
    with opened.create_container(pod(web), WEB, web) as made:
        assert made.path == "nsrun/poduid-1/web-3"
        assert made.into is not None
        assert (os.fstat(made.into.fileno()), made.procs, made.warnings) == (
            (fake.top / made.path).stat(),
            (),
            (),
        )
    assert fake.read(made.path) == {
        "cpu.weight": "59",
        "cpu.max": "50000 100000",
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
    }
    with opened.create_container(pod(web), WEB, None) as sandbox:
        assert sandbox.path == "nsrun/poduid-1/sandbox"
    assert fake.read(sandbox.path) == {}


def test_burstable_pods_weigh_together(fake: Fake, opened: Cgroups) -> None:
    fake.make("nsrun/burstable/poda", "nsrun/burstable/podb")
    for uid, milli in (("a", 1000), ("b", 3000)):
        opened.create_pod(pod(container(requests={"cpu": milli}), uid=uid))
    assert fake.read("nsrun/burstable")["cpu.weight"] == "157"
    assert opened.owners() == {"a", "b"}


def test_pods_that_are_there_already_weigh_too(fake: Fake) -> None:
    fake.make("nsrun/burstable/poda", "nsrun/burstable/podb")
    (fake.top / "nsrun/burstable/poda/cpu.weight").write_text("39\n")
    opened = open_cgroups(fake.facts(), "nsrun")
    opened.create_pod(pod(container(requests={"cpu": 1000}), uid="b"))
    # 39 stands for 975 milli at least: rounding keeps no more.
    assert fake.read("nsrun/burstable")["cpu.weight"] == "78"
    opened.close()


def test_best_effort_pods_have_no_weight_but_the_least(fake: Fake, opened: Cgroups) -> None:
    fake.make("nsrun/besteffort/poduid-1")
    assert opened.create_pod(pod()) == "nsrun/besteffort/poduid-1"
    assert fake.read("nsrun/besteffort/poduid-1")["cpu.weight"] == "1"


def test_a_missing_controller_is_told_not_fatal(fake: Fake) -> None:
    opened = open_cgroups(fake.facts(controllers=frozenset({"memory"})), "nsrun", pids_limit=10)
    assert opened.warnings == (
        'cannot use the "cpu" controller: it is not offered here',
        'cannot use the "pids" controller: it is not offered here',
    )
    web = container(limits={"cpu": 500, "memory": 64 * MIB * 1000})
    with opened.create_container(pod(web), WEB, None) as sandbox:
        assert sandbox.warnings == (
            'cannot apply the memory limit of the pod: writing "67108864" to memory.max: this kernel has no such file',
            'cannot enforce the limit of processes of the pod: this machine offers no "pids" controller',
        )
    with opened.create_container(pod(web), WEB, web) as made:
        assert made.warnings[:2] == (
            'cannot enforce the cpu request of container "web": this machine offers no "cpu" controller',
            'cannot enforce the cpu limit of container "web": this machine offers no "cpu" controller',
        )
        # memory.swap.max and memory.oom.group may be absent without a word.
        assert made.warnings[2:] == (
            'cannot apply the memory limit of container "web": writing "67108864" to memory.max: '
            "this kernel has no such file",
        )
    with opened.create_container(pod(), WEB, container()) as unsaid:
        assert unsaid.warnings == ()
    opened.close()


def test_huge_pages_are_limited_on_every_level_below_the_classes(fake: Fake) -> None:
    """Sizes are those that the top cgroup has files for."""
    for path in ("nsrun", "nsrun/besteffort", "nsrun/besteffort/poduid-1", "nsrun/besteffort/poduid-1/web-3"):
        fake.make(path)
        for name in ("hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "hugetlb.1GB.max"):
            (fake.top / path / name).touch()
    opened = open_cgroups(fake.facts(controllers=frozenset({"cpu", "memory", "pids", "hugetlb"})), "nsrun")
    web = container(limits={"hugepages-2Mi": 64 * MIB * 1000})
    opened.create_pod(pod(web))
    with opened.create_container(pod(web), WEB, web) as made:
        assert made.warnings == ()
    for path in (made.path, "nsrun/besteffort/poduid-1"):
        held = {file.name: file.read_text() for file in (fake.top / path).glob("hugetlb.*")}
        assert held == {
            "hugetlb.2MB.max": str(64 * MIB),
            "hugetlb.2MB.rsvd.max": str(64 * MIB),
            "hugetlb.1GB.max": "0",
        }
    assert (fake.top / "nsrun/besteffort/hugetlb.2MB.max").read_text() == ""
    odd = container(limits={"hugepages-4Mi": 8 * MIB * 1000})
    with opened.create_container(pod(odd), WEB, odd) as made:
        assert made.warnings == (
            'cannot apply the limit of huge pages of 4MB of container "web": writing "8388608" to hugetlb.4MB.max: '
            "this kernel has no such file",
        )
    opened.close()


def test_huge_pages_without_their_controller_are_told_to_those_who_declare_them(fake: Fake) -> None:
    opened = open_cgroups(fake.facts(), "nsrun")
    fake.make("nsrun/besteffort/poduid-1", "nsrun/besteffort/poduid-1/web-3")
    assert opened.warnings == ()
    web = container(limits={"hugepages-2Mi": 64 * MIB * 1000})
    with opened.create_container(pod(web), WEB, web) as made:
        assert made.warnings == (
            'cannot enforce the limit of huge pages of 2MB of container "web": this machine offers no "hugetlb" '
            "controller",
        )
    with opened.create_container(pod(), WEB, container()) as unsaid:
        assert unsaid.warnings == ()
    opened.close()


def test_a_level_that_hands_nothing_on_names_the_controller(fake: Fake) -> None:
    (fake.top / "cgroup.subtree_control").unlink()
    opened = open_cgroups(fake.facts(), "nsrun")
    assert opened.warnings == tuple(
        f'cannot use the "{name}" controller: "{fake.top}" does not hand it on: no such file or directory (ENOENT)'
        for name in ("cpu", "memory", "pids")
    )
    opened.close()


def test_out_of_memory_is_told_from_the_kernel_s_count(fake: Fake, opened: Cgroups) -> None:
    fake.make("nsrun/besteffort/poduid-1/web-3")
    events = fake.top / "nsrun/besteffort/poduid-1/web-3/memory.events"
    assert not opened.oom_killed(WEB)
    events.write_text("low 0\nhigh 0\nmax 5\noom 1\noom_kill 1\noom_group_kill 1\n")
    assert opened.oom_killed(WEB)
    assert not opened.oom_killed(replace(WEB, attempt=4))
    assert not opened.oom_killed(replace(WEB, uid="unknown"))


@pytest.mark.parametrize("root", ["", "/nsrun", "../x", "a//b", "a/../b", "a b", ".hidden"])
def test_the_root_is_a_plain_relative_path(fake: Fake, root: str) -> None:
    with pytest.raises(HostError, match="plain names"):
        open_cgroups(fake.facts(), root)


@pytest.mark.parametrize("uid", ["", "..", "a/b", "../../x", "a\nb", ".a"])
def test_no_uid_leads_out_of_the_root(opened: Cgroups, uid: str) -> None:
    for act in (opened.kill_pod, opened.remove_pod, opened.pids):
        with pytest.raises(RuntimeFailure, match="plain name"):
            act(uid)
    with pytest.raises(RuntimeFailure, match="plain name"):
        opened.create_pod(pod(uid=uid))


@pytest.mark.parametrize("name", ["", "..", "a/b", "../sandbox", "Web", "-a"])
def test_no_container_name_leads_out_of_its_pod(fake: Fake, opened: Cgroups, name: str) -> None:
    fake.make("nsrun/besteffort/poduid-1")
    with pytest.raises(RuntimeFailure, match="plain name"):
        opened.create_container(pod(), replace(WEB, name=name), container())
    with pytest.raises(RuntimeFailure, match="plain name"):
        opened.remove_container(replace(WEB, name=name))


def test_a_machine_that_allows_no_cgroup_is_told_once(tmp_path: Path) -> None:
    opened = open_cgroups(machines.machine(CgroupSetup(mode=CgroupMode.NONE)), "nsrun")
    assert not opened.exist
    (warning,) = opened.warnings
    assert warning.startswith("pods run without cgroups, and their limits are not enforced: ")
    assert "is not mounted" in warning
    gone = Unified(directory=str(tmp_path / "gone"), writable=True)
    (warning,) = open_cgroups(machines.machine(CgroupSetup(mode=CgroupMode.V2, unified=gone)), "nsrun").warnings
    assert "no such file" in warning


def test_in_a_user_namespace_nothing_is_missed_that_could_not_be_there(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "attach_device_program", lambda fd, program: pytest.fail("it may not be"))
    inside = replace(fake.facts(), users=UserNamespace(uids=65537, gids=65537, groups=True))
    assert open_cgroups(inside, "nsrun").warnings == ()


def test_what_its_owner_hands_on_needs_nobody_s_leave(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delegated cgroup lies below others' cgroups, whose files only they may write."""
    fake.make("user.slice/user@1000.service/pods")
    for path in (".", "user.slice", "user.slice/user@1000.service"):
        (fake.top / path / "cgroup.subtree_control").write_text("memory pids\n")

    def refuse(cgroup: Fd, name: str, value: str) -> None:
        place = os.readlink(f"/proc/self/fd/{cgroup.fileno()}")
        if not place.endswith("pods"):
            raise PermissionError(13, "")
        write_file(cgroup, name, value)

    monkeypatch.setattr(cgroup_v2, "write_file", refuse)
    opened = open_cgroups(fake.facts(), "user.slice/user@1000.service/pods")
    assert [line for line in opened.warnings if "memory" in line or "pids" in line] == []
    (refused,) = opened.warnings
    assert refused.startswith('cannot use the "cpu" controller: ')
    assert "does not hand it on: permission denied" in refused


def test_which_hierarchies_are_used() -> None:
    def chosen(text: str, *, tracked: bool, systemd: bool = True) -> list[str]:
        facts = replace(machines.machine(machines.setup(text)), systemd=systemd)
        return [h.directory.rpartition("/")[2] for h in choose_hierarchies(facts, tracked=tracked)]

    counted = ["cpu", "cpuacct", "memory", "blkio", "pids"]
    assert chosen(machines.HYBRID, tracked=True, systemd=False) == counted
    assert chosen(machines.HYBRID, tracked=False, systemd=False) == [*counted[:3], "devices", "freezer", *counted[3:]]
    assert chosen(machines.V1, tracked=False) == ["systemd", "cpu,cpuacct", "memory", "freezer"]
    assert chosen(machines.DEBIAN_12, tracked=True) == []


def test_a_cgroup_that_cannot_be_made_is_named_and_nothing_stays_open(fake: Fake, opened: Cgroups) -> None:
    before = os.listdir("/proc/self/fd")
    fake.make("nsrun/besteffort/poduid-1")
    (fake.top / "nsrun/besteffort/poduid-1/web-3").touch()
    with pytest.raises(RuntimeFailure, match=r'cannot create cgroup ".*/nsrun/besteffort/poduid-1/web-3": not a dir'):
        opened.create_container(pod(), WEB, container())
    (fake.top / "nsrun/besteffort/poduid-1/sandbox").mkdir()
    with opened.create_container(pod(), WEB, None):
        pass
    assert os.listdir("/proc/self/fd") == before


def test_a_v1_cgroup_without_its_files_leaves_nothing_open(tmp_path: Path) -> None:
    """The second hierarchy fails after the first was opened."""
    directories = [tmp_path / "pids", tmp_path / "memory"]
    for directory in directories:
        (directory / "nsrun" / "besteffort" / "poduid-1" / "web-3").mkdir(parents=True)
    (directories[0] / "nsrun/besteffort/poduid-1/web-3/cgroup.procs").touch()
    hierarchies = tuple(Hierarchy(directory=str(d), controllers=(d.name,)) for d in directories)
    opened = open_cgroups(machines.machine(CgroupSetup(mode=CgroupMode.V1, hierarchies=hierarchies)), "nsrun")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(RuntimeFailure, match=r"cannot open cgroup\.procs in .*/memory"):
        opened.create_container(pod(), WEB, container())
    assert os.listdir("/proc/self/fd") == before
    opened.close()


def test_what_a_container_is_shown_on_v2(opened: Cgroups) -> None:
    view = opened.container_mounts("nsrun/poduid-1/web-0")
    assert view.mounts == (CgroupMount(destination="/sys/fs/cgroup", type="cgroup2"),)
    assert (view.links, view.seal) == ((), "")
    assert view.mounts[0].read_only


def test_what_a_container_is_shown_on_v1(tmp_path: Path) -> None:
    hierarchies = (
        Hierarchy(directory=str(tmp_path / "cpu,cpuacct"), controllers=("cpu", "cpuacct")),
        Hierarchy(directory=str(tmp_path / "systemd"), controllers=(), name="systemd"),
    )
    for hierarchy in hierarchies:
        Path(hierarchy.directory).mkdir()
    opened = open_cgroups(machines.machine(CgroupSetup(mode=CgroupMode.V1, hierarchies=hierarchies)), "nsrun")
    view = opened.container_mounts("nsrun/poduid-1/web-0")
    assert [(m.destination, m.type, m.options, m.read_only) for m in view.mounts] == [
        ("/sys/fs/cgroup", "tmpfs", ("mode=755", "size=64k"), False),
        ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", ("cpu", "cpuacct"), True),
        ("/sys/fs/cgroup/systemd", "cgroup", ("none", "name=systemd"), True),
    ]
    assert view.links == (("/sys/fs/cgroup/cpu", "cpu,cpuacct"), ("/sys/fs/cgroup/cpuacct", "cpu,cpuacct"))
    assert view.seal == "/sys/fs/cgroup"
    opened.close()


def test_removal_is_tried_again_only_while_busy(tmp_path: Path) -> None:
    (tmp_path / "nsrun" / "a").mkdir(parents=True)
    (tmp_path / "nsrun" / "a" / "a-file").touch()  # rmdir: ENOTEMPTY, which cgroupfs never says
    with CgroupTree.make_root(str(tmp_path), "nsrun") as root:
        tree = CgroupTree(directory=str(tmp_path), name="nsrun", controllers=frozenset(), root=root)
        with pytest.raises(RuntimeFailure, match=r'cannot remove cgroup "a" from .*: directory not empty'):
            tree.remove("a")
        (tmp_path / "nsrun" / "a" / "a-file").unlink()
        tree.remove("a")
        tree.remove("a")
        tree.remove_root()
        tree.remove_root()
    assert list(tmp_path.iterdir()) == []


def test_flat_files() -> None:
    assert parse_flat("populated 1\nfrozen 0\nodd\nword x\n") == {"populated": 1, "frozen": 0}
