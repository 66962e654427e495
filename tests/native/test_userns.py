"""User namespaces and labels, by plans made by hand: with the shipped shim, and with the sanitizers'."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.native import abi
from tests.native.plans import Plan
from tests.native.pods import Pod
from tests.native.test_launch import facts, status

pytestmark = pytest.mark.root

FIRST, COUNT = 1 << 30, 65536
MOUNTS = native.CLONE_NEWNS


@pytest.fixture
def users(tmp_path: Path) -> Iterator[int]:
    """A user namespace, held by a network namespace that belongs to it."""
    pin = tmp_path / "netns"
    pin.touch()
    netns, netlink = native.netns_create(str(pin), ids=(FIRST, COUNT))
    found = fcntl.ioctl(netns.fileno(), 0xB701)
    yield found
    os.close(found)
    netns.close()
    netlink.close()
    native.umount(str(pin))


def plan_for(pod: Pod, users: int) -> Plan:
    """Up to what has to be done before the user namespace is entered."""
    plan = Plan(new_namespaces=MOUNTS | native.CLONE_NEWPID)
    fd = plan.fd(users)
    upper, work = pod.base / "upper", pod.base / "work"
    for directory in (upper, work):
        directory.mkdir()
    os.chown(upper, FIRST, FIRST)
    os.chown(pod.image, 0, 0)
    plan.add(abi.NS_OP_PRIVATE)
    plan.add(abi.NS_OP_OPEN, str(pod.image), c=0, fd=fd)
    plan.add(abi.NS_OP_OPEN, str(upper), c=1)
    plan.add(abi.NS_OP_OPEN, str(work), c=2)
    plan.add(abi.NS_OP_OVERLAY, str(pod.base / "stage"), "lowerdir=%0,upperdir=%1,workdir=%2")
    plan.add(abi.NS_OP_ROOT, str(pod.base / "stage"))
    plan.add(abi.NS_OP_MAKER, a=FIRST, b=FIRST)
    plan.fs("proc", "/proc", real=1)
    plan.fs("tmpfs", "/dev", "mode=755", real=1)
    plan.add(abi.NS_OP_MKDIR, "/made", a=0o755)
    return plan


def test_a_process_becomes_root_of_the_namespace(pod: Pod, users: int) -> None:
    plan = plan_for(pod, users)
    plan.add(abi.NS_OP_USER, fd=0, a=MOUNTS | native.CLONE_NEWUTS | native.CLONE_NEWIPC)
    plan.add(abi.NS_OP_HOSTNAME, "inside")
    lines = pod.run("c.0", pod.finished(plan, "report", cwd="/new"))
    found = status(lines)
    assert found["Uid"].split() == found["Gid"].split() == ["0"] * 4
    assert found["Groups"] == ""
    assert int(found["CapEff"], 16) == int(found["CapPrm"], 16) > 0
    namespaces = dict(line.split() for line in facts(lines, "ns"))
    assert namespaces["user"] == f"user:[{os.fstat(users).st_ino}]"
    for name in ("mnt", "uts", "ipc", "pid"):
        assert namespaces[name] != os.readlink(f"/proc/self/ns/{name}")
    assert facts(lines, "hostname") == ["inside"]
    assert facts(lines, "cwd") == ["/new"]
    assert facts(lines, "dumpable") == ["1"]
    upper = pod.base / "upper"
    for name in ("made", "new"):
        assert ((upper / name).stat().st_uid, (upper / name).stat().st_gid) == (FIRST, FIRST), name
    assert pod.image.stat().st_uid == 0


def test_without_a_root_file_system_there_is_no_way_in(plain_pod: Pod, users: int) -> None:
    plan = Plan(new_namespaces=MOUNTS | native.CLONE_NEWPID)
    index = plan.add(abi.NS_OP_USER, fd=plan.fd(users), a=MOUNTS)
    plan.run()
    failed = plain_pod.launch("c.0", plan)
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.index) == (abi.NS_OP_USER, index)


def test_something_else_is_no_user_namespace(plain_pod: Pod, users: int) -> None:
    plan = plan_for(plain_pod, users)
    with open("/proc/self/ns/uts") as other:
        index = plan.add(abi.NS_OP_USER, fd=plan.fd(other.fileno()), a=MOUNTS)
        failed = plain_pod.launch("c.0", plain_pod.finished(plan, "report"))
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.errno, failed.failure.index) == (abi.NS_OP_USER, errno.EINVAL, index)


def test_the_loopback_of_an_owned_network_is_up(tmp_path: Path) -> None:
    pin = tmp_path / "netns"
    pin.touch()
    before = set(os.listdir("/proc/self/fd"))
    netns, netlink = native.netns_create(str(pin), ids=(FIRST, 1))
    assert os.fstat(netns.fileno()).st_ino == pin.stat().st_ino
    netns.close()
    netlink.close()
    assert set(os.listdir("/proc/self/fd")) <= before
    native.umount(str(pin))


@pytest.mark.parametrize("ids", [(0, 0), (2**32 - 2, 65536)])
def test_ids_that_are_none(tmp_path: Path, ids: tuple[int, int]) -> None:
    pin = tmp_path / "netns"
    pin.touch()
    with pytest.raises(OSError) as caught:
        native.netns_create(str(pin), ids=ids)
    assert caught.value.errno == errno.EINVAL
    assert Path("/proc/self/mountinfo").read_text().count(str(pin)) == 0


def test_a_label_that_nobody_takes(plain_pod: Pod) -> None:
    """A security module that is not there, or does not know it, ends the launch: nothing runs unlabelled."""
    plan = plain_pod.plan("c.0")
    index = plan.add(abi.NS_OP_LABEL, "apparmor/exec", "exec no-such-profile")
    failed = plain_pod.launch("c.0", plain_pod.finished(plan, "report"))
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.index) == (abi.NS_OP_LABEL, index)
