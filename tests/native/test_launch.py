"""Launching through the shim: what the program in the container finds, and what it must not find."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.native import abi
from tests.native.plans import ALL_CAPS, NULL_DEVICE
from tests.native.pods import Pod, cgroup2

pytestmark = pytest.mark.root


def facts(lines: list[str], word: str) -> list[str]:
    """What follows ``word`` on the lines that start with it."""
    return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{word} ")]


def status(lines: list[str]) -> dict[str, str]:
    """/proc/self/status."""
    return dict((part.strip() for part in line.split(":", 1)) for line in facts(lines, "status"))  # type: ignore[misc]


def test_nothing_of_the_host_leaks_in(pod: Pod) -> None:
    os.environ["NSRUN_SECRET"] = "1"
    leak = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leak, True)
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        lines = pod.run("c.0", pod.finished(pod.plan("c.0"), "report", environment=["A=1", "B=x y"]))
    finally:
        signal.signal(signal.SIGUSR1, old)
        os.close(leak)
        del os.environ["NSRUN_SECRET"]
    fds = dict(line.split(" ", 1) for line in facts(lines, "fd"))
    assert set(fds) == {"0", "1", "2"}
    assert fds["0"] == "/dev/null"
    assert fds["1"].startswith("pipe:")
    assert facts(lines, "env") == ["A=1", "B=x y"]
    assert facts(lines, "cwd") == ["/"]
    assert facts(lines, "umask") == ["022"]
    assert facts(lines, "pdeathsig") == [str(int(signal.SIGKILL))]
    assert facts(lines, "dumpable") == ["1"]
    assert facts(lines, "pid") == ["1"]
    assert facts(lines, "tty") == ["-1"]
    assert int(status(lines)["SigIgn"], 16) == 0
    assert int(status(lines)["SigBlk"], 16) == 0


def test_identity(pod: Pod) -> None:
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_PIVOT)
    plan.add(abi.NS_OP_SETSID)
    plan.add(abi.NS_OP_KEYRING, "a-session")
    plan.add(abi.NS_OP_UMASK, a=0o027)
    plan.groups(7, 42)
    plan.add(abi.NS_OP_IDS, a=1000, b=1001)
    plan.add(abi.NS_OP_CAPS, a=(1 << 10) | (1 << 13), b=1 << 10, c=1 << 10)
    plan.add(abi.NS_OP_NO_NEW_PRIVS)
    plan.add(abi.NS_OP_PDEATHSIG, a=signal.SIGKILL)
    plan.run("report")
    lines = pod.run("c.0", plan)
    found = status(lines)
    assert found["Uid"].split() == ["1000"] * 4
    assert found["Gid"].split() == ["1001"] * 4
    assert found["Groups"].split() == ["7", "42"]
    assert int(found["CapBnd"], 16) == (1 << 10) | (1 << 13)
    assert {int(found[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {1 << 10}
    assert found["NoNewPrivs"] == "1"
    assert facts(lines, "umask") == ["027"]
    assert facts(lines, "pdeathsig") == ["9"], "a change of identity clears it: it has to be set again"
    assert facts(lines, "sid") == ["1"]


def test_inheritable_capabilities_are_empty(pod: Pod) -> None:
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_CAPS, a=ALL_CAPS & ~(1 << 24), b=ALL_CAPS & ~(1 << 24), flags=abi.NS_TOLERATE)
    found = status(pod.run("c.0", pod.finished(plan, "report")))
    assert int(found["CapInh"], 16) == 0
    assert int(found["CapAmb"], 16) == 0


def test_capability_that_the_host_withholds(pod: Pod) -> None:
    """More than there is: refused, or with NS_TOLERATE the rest is kept and it is said."""
    beyond = 1 << 62
    plan = pod.plan("c.0")
    index = plan.add(abi.NS_OP_CAPS, a=ALL_CAPS, b=beyond | 1)
    failed = pod.launch("c.0", pod.finished(plan, "report"))
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.index) == (abi.NS_OP_CAPS, index)
    plan = pod.plan("c.1")
    plan.add(abi.NS_OP_PIVOT)
    plan.add(abi.NS_OP_CAPS, a=1, b=beyond | 1, flags=abi.NS_TOLERATE)
    plan.run("report")
    started = pod.launch("c.1", plan)
    assert started.kind == abi.NS_MSG_DONE
    assert [failure.step for failure in started.tolerated] == [abi.NS_OP_CAPS]
    pod.client.exit_of("c.1")
    assert any(record.content.startswith(b"status CapEff:\t0000000000000001") for record in pod.log("c.1"))


def test_rlimits(pod: Pod) -> None:
    """A limit above what there is gets clamped, and the launch tells about it."""
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_RLIMIT, a=resource.RLIMIT_NOFILE, b=200, c=300)
    plan.add(abi.NS_OP_RLIMIT, a=resource.RLIMIT_CORE, b=0, c=0)
    index = plan.add(abi.NS_OP_RLIMIT, a=resource.RLIMIT_NOFILE, b=2**40, c=2**40)
    started = pod.launch("c.0", pod.finished(plan, "report"))
    assert [(failure.step, failure.index) for failure in started.tolerated] == [(abi.NS_OP_RLIMIT, index)]
    pod.client.exit_of("c.0")
    lines = [record.content.decode() for record in pod.log("c.0")]
    assert f"{resource.RLIMIT_NOFILE} 300 300" in facts(lines, "rlimit")
    assert f"{resource.RLIMIT_CORE} 0 0" in facts(lines, "rlimit")


def test_rootfs(pod: Pod) -> None:
    """Directories, devices, links, file systems, binds, masks and read-only places are as asked for."""
    (pod.image / "secrets").mkdir()
    (pod.image / "secrets/key").write_text("secret")
    (pod.image / "hidden").write_text("hidden")
    (pod.image / "fixed").mkdir()
    volume = pod.base / "volume"
    volume.mkdir()
    (volume / "data").write_text("from the volume")
    tree = native.open_tree(-100, str(volume), native.OPEN_TREE_CLONE)
    file_tree = native.open_tree(-100, str(volume / "data"), native.OPEN_TREE_CLONE)
    native.mount_setattr(tree.fileno(), "", native.AT_EMPTY_PATH, set=native.MOUNT_ATTR_RDONLY)
    plan = pod.plan("c.0")
    plan.fs("tmpfs", "/dev", "mode=755", "size=65536k", attributes=native.MOUNT_ATTR_NOSUID, real=1)
    plan.fs("devpts", "/dev/pts", "newinstance", "ptmxmode=0666", "mode=0620")
    plan.fs("mqueue", "/dev/mqueue")
    plan.node("/dev/null", 0o666, NULL_DEVICE)
    plan.add(abi.NS_OP_SYMLINK, "/proc/self/fd/1", "/dev/stdout")
    plan.add(abi.NS_OP_MKDIR, "/made/of/parts", a=0o1777, b=12, c=34)
    plan.add(abi.NS_OP_BIND, "/volume/here", fd=plan.fd(tree.fileno()))
    plan.add(abi.NS_OP_BIND, "/etc/file", fd=plan.fd(file_tree.fileno()), a=1)
    plan.add(abi.NS_OP_MASK, "/secrets", str(pod.base / "empty"))
    plan.add(abi.NS_OP_MASK, "/hidden", str(pod.base / "empty"))
    plan.add(abi.NS_OP_MASK, "/proc/version", str(pod.base / "empty"))
    plan.add(abi.NS_OP_MASK, "/not/there", str(pod.base / "empty"))
    plan.add(abi.NS_OP_READONLY, "/fixed")
    plan.add(abi.NS_OP_READONLY, "/not/there")
    looks = [
        "/dev/null",
        "/dev/pts",
        "/made",
        "/made/of/parts",
        "/secrets/key",
        "/hidden",
        "/proc/version",
        "/etc/file",
    ]
    commands = [word for path in looks for word in ("stat", path)]
    commands += ["read", "/volume/here/data", "read", "/etc/file", "read", "/hidden", "write", "/volume/here/data"]
    commands += ["write", "/fixed/x", "write", "/secrets/x", "write", "/made/x", "write", "/dev/null", "report"]
    lines = pod.run("c.0", pod.finished(plan, *commands))
    tree.close()
    file_tree.close()
    assert "/dev/null 20666 0:0 1:3" in facts(lines, "stat")
    assert "/made/of/parts 41777 12:34 0:0" in facts(lines, "stat")
    assert "/secrets/key errno 2" in facts(lines, "stat")
    assert "/hidden 20666 0:0 1:3" in facts(lines, "stat")
    assert "/proc/version 20666 0:0 1:3" in facts(lines, "stat")
    assert facts(lines, "read") == ["/volume/here/data from the volume", "/etc/file from the volume", "/hidden "]
    assert facts(lines, "write") == [
        "/volume/here/data errno 30",
        "/fixed/x errno 30",
        "/secrets/x errno 30",
        "/made/x ok",
        "/dev/null ok",
    ]
    mounts = [line.split()[4] for line in facts(lines, "mount")]
    assert "/" in mounts
    assert not [path for path in mounts if path.startswith(str(pod.base))], "the old root is gone"


def test_devices_of_the_host(pod: Pod) -> None:
    """Where none can be made: the host's own are shown, and nothing else by their names."""
    plan = pod.plan("c.0")
    plan.fs("tmpfs", "/dev", "mode=755", real=1)
    plan.add(abi.NS_OP_DEVICE, "/dev/zero", "/dev/zero", a=stat.S_IFCHR | 0o666, b=os.makedev(1, 5))
    lines = pod.run("c.0", pod.finished(plan, "stat", "/dev/zero", "report"))
    assert "/dev/zero 20666 0:0 1:5" in facts(lines, "stat")
    shown = next(line for line in facts(lines, "mount") if line.split()[4] == "/dev/zero")
    assert {"nosuid", "noexec"} <= set(shown.split()[5].split(","))


@pytest.mark.parametrize("source", ["/dev/null", "/etc/passwd", "LINK"])
def test_what_took_a_devices_place_is_not_shown(pod: Pod, source: str) -> None:
    if source == "LINK":
        (pod.base / "zero").symlink_to("/dev/zero")
        source = str(pod.base / "zero")
    plan = pod.plan("c.0")
    failed = plan.add(abi.NS_OP_DEVICE, "/zero", source, a=stat.S_IFCHR | 0o666, b=os.makedev(1, 5))
    failure = pod.launch("c.0", pod.finished(plan, "report")).failure
    assert failure is not None
    assert (failure.step, failure.errno, failure.index) == (abi.NS_OP_DEVICE, errno.ENODEV, failed)


def test_a_root_that_is_a_mount_already(pod: Pod) -> None:
    tree = native.open_tree(-100, str(pod.image), native.OPEN_TREE_CLONE)
    plan = pod.plan("c.0")
    plan.ops = plan.ops[:1]
    plan.add(abi.NS_OP_ATTACH, str(pod.base / "stage"), fd=plan.fd(tree.fileno()))
    plan.add(abi.NS_OP_ROOT, str(pod.base / "stage"))
    (pod.image / "whole").write_text("all of it")
    lines = pod.run("c.0", pod.finished(plan, "read", "/whole", "report"))
    tree.close()
    assert facts(lines, "read") == ["/whole all of it"]


def test_read_only_root(pod: Pod) -> None:
    """The rootfs is read-only, what is mounted in it is not."""
    plan = pod.plan("c.0")
    plan.fs("tmpfs", "/tmp")
    plan.add(abi.NS_OP_ROOT_READONLY)
    lines = pod.run("c.0", pod.finished(plan, "write", "/x", "write", "/tmp/x"))
    assert lines == ["write /x errno 30", "write /tmp/x ok"]


def test_working_directory_is_made(pod: Pod) -> None:
    lines = pod.run("c.0", pod.finished(pod.plan("c.0"), "report", "stat", "/not/there", cwd="/not/there/yet"))
    assert facts(lines, "cwd") == ["/not/there/yet"]
    assert facts(lines, "stat") == ["/not/there 40755 0:0 0:0"]


def test_candidates(pod: Pod) -> None:
    """The first that can be executed is; EACCES is told before ENOENT."""
    (pod.image / "bin/plain").write_text("no program")

    def plan(id: str, *candidates: str) -> object:
        made = pod.plan(id)
        made.add(abi.NS_OP_PIVOT)
        made.add(abi.NS_OP_EXEC, b"".join(c.encode() + b"\0" for c in candidates), b"reporter\0say\0hello\0", b"")
        return made

    assert pod.run("c.0", plan("c.0", "/nope/reporter", "/bin/plain", "/bin/reporter")) == ["hello"]  # type: ignore[arg-type]
    for id, candidates, expected in (
        ("c.1", ("/nope", "/bin/reporter/x"), 2),
        ("c.2", ("/nope", "/bin/plain", "/nope"), 13),
    ):
        failed = pod.launch(id, plan(id, *candidates))  # type: ignore[arg-type]
        assert failed.failure is not None
        assert (failed.failure.step, failed.failure.errno) == (abi.NS_OP_EXEC, expected)


def test_seccomp(pod: Pod) -> None:
    """A filter by which getcwd(2) gives EPERM, loaded before and after privileges are dropped."""
    allow, deny, load, jump = 0x7FFF0000, 0x00050001, 0x20, 0x15
    number = 79 if os.uname().machine == "x86_64" else 17
    program = b"".join(
        code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
        for code, yes, no, value in ((load, 0, 0, 0), (jump, 0, 1, number), (0x06, 0, 0, deny), (0x06, 0, 0, allow))
    )
    for id, order in (("c.0", "before"), ("c.1", "after")):
        plan = pod.plan(id)
        plan.add(abi.NS_OP_PIVOT)
        if order == "before":
            plan.add(abi.NS_OP_SECCOMP, program)
        plan.add(abi.NS_OP_IDS, a=1000, b=1000)
        plan.add(abi.NS_OP_CAPS)
        if order == "after":
            plan.add(abi.NS_OP_NO_NEW_PRIVS)
            plan.add(abi.NS_OP_SECCOMP, program)
        plan.run("report")
        lines = pod.run(id, plan)
        assert status(lines)["Seccomp"] == "2"
        assert facts(lines, "cwd") == ["Operation not permitted"]


def test_hostname_sysctl_oom_score(pod: Pod) -> None:
    plan = pod.plan("c.0", new_namespaces=native.CLONE_NEWNS | native.CLONE_NEWUTS | native.CLONE_NEWIPC)
    plan.add(abi.NS_OP_HOSTNAME, "some-pod")
    plan.add(abi.NS_OP_SYSCTL, "kernel/shm_rmid_forced", "1")
    plan.add(abi.NS_OP_OOM_SCORE, a=321)
    lines = pod.run("c.0", pod.finished(plan, "report", "read", "/proc/sys/kernel/shm_rmid_forced"))
    assert facts(lines, "hostname") == ["some-pod"]
    assert facts(lines, "oom") == ["321"]
    assert facts(lines, "read") == ["/proc/sys/kernel/shm_rmid_forced 1"]


@pytest.mark.parametrize("name", ["../../etc/escaped", "kernel/../../../etc/escaped"])
def test_sysctl_stays_below_proc_sys(plain_pod: Pod, name: str) -> None:
    """The reader of plans refuses it, before there is a child."""
    plan = plain_pod.plan("c.0")
    index = plan.add(abi.NS_OP_SYSCTL, name, "1")
    failed = plain_pod.launch("c.0", plain_pod.finished(plan, "report"))
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.index) == (abi.NS_STEP_PLAN, index)


def test_sandbox_is_shared(pod: Pod) -> None:
    """Containers join the pause process's namespaces, and share its /dev/shm."""
    sandbox = pod.sandbox()
    assert sandbox.kind == abi.NS_MSG_DONE, sandbox
    seen = {}
    for id in ("a.0", "b.0"):
        plan = pod.plan(id, new_namespaces=native.CLONE_NEWNS | native.CLONE_NEWPID)
        plan.join_namespaces = native.CLONE_NEWUTS | native.CLONE_NEWIPC | native.CLONE_NEWNET
        slot = plan.add(abi.NS_OP_SANDBOX_TREE, "/dev/shm", c=9)
        plan.ops.insert(0, plan.ops.pop(slot))
        plan.add(abi.NS_OP_BIND, "/dev/shm", fd=len(plan.fds) + 9)
        lines = pod.run(id, pod.finished(plan, "stat", "/dev/shm/a.0", "write", f"/dev/shm/{id}", "report"))
        namespaces = dict(line.split() for line in facts(lines, "ns"))
        assert facts(lines, "hostname") == ["a-pod"]
        for name in ("uts", "ipc", "net"):
            assert namespaces[name] == os.readlink(f"/proc/{sandbox.pid}/ns/{name}")
        assert namespaces["mnt"] != os.readlink(f"/proc/{sandbox.pid}/ns/mnt")
        seen[id] = facts(lines, "stat")[0]
    assert seen["a.0"] == "/dev/shm/a.0 errno 2"
    assert "errno" not in seen["b.0"]


def test_pause_holds_nothing(pod: Pod) -> None:
    """pause has no descriptor, no file system to speak of, and no output."""
    sandbox = pod.sandbox()
    assert {os.readlink(f"/proc/{sandbox.pid}/fd/{n}") for n in os.listdir(f"/proc/{sandbox.pid}/fd")} == {"/dev/null"}
    mounts = Path(f"/proc/{sandbox.pid}/mountinfo").read_text().splitlines()
    assert [line.split()[4] for line in mounts] == ["/", "/dev/shm"]
    assert " ro," in mounts[0]


def test_join_network_namespace(pod: Pod) -> None:
    netns = pod.base / "netns"
    netns.touch()
    namespace, netlink = native.netns_create(str(netns))
    plan = pod.plan("c.0", new_namespaces=native.CLONE_NEWNS)
    plan.add(abi.NS_OP_JOIN, fd=plan.fd(namespace.fileno()), a=native.CLONE_NEWNET)
    lines = pod.run("c.0", pod.finished(plan, "report"))
    assert f"net {os.readlink(f'/proc/self/fd/{namespace.fileno()}')}" in facts(lines, "ns")
    native.umount(str(netns), native.MNT_DETACH)
    namespace.close()
    netlink.close()


def test_join_without_sandbox(plain_pod: Pod) -> None:
    plan = plain_pod.plan("c.0", new_namespaces=native.CLONE_NEWNS)
    plan.join_namespaces = native.CLONE_NEWUTS
    failed = plain_pod.launch("c.0", plain_pod.finished(plan, "report"))
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.errno) == (abi.NS_STEP_JOIN, 3)


def test_launches_run_side_by_side(pod: Pod, cgroup_root: str) -> None:
    """A launch that hangs (its child is born into a frozen cgroup) keeps none of the others waiting."""
    group = cgroup2() / cgroup_root
    group.mkdir()
    (group / "cgroup.freeze").write_text("1")
    frozen = pod.plan("frozen.0")
    group_fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    frozen.cgroup_fd = frozen.fd(group_fd)
    waiting = pod.send_launch("frozen.0", pod.finished(frozen, "say", "thawed"))
    for n in range(5):
        assert pod.launch(f"c.{n}", pod.finished(pod.plan(f"c.{n}"), "say", f"number {n}")).kind == abi.NS_MSG_DONE
        assert pod.client.exit_of(f"c.{n}").wait_status == 0
    assert not [message for message in pod.client.unasked if message.serial == waiting]
    assert [entry.state for entry in pod.client.entries() if entry.id == "frozen.0"] == [abi.NS_STATE_RUNNING]
    (group / "cgroup.freeze").write_text("0")
    assert pod.client.answer(waiting).kind == abi.NS_MSG_DONE
    pod.client.exit_of("frozen.0")
    assert [record.content for record in pod.log("frozen.0")] == [b"thawed"]
    os.close(group_fd)


def test_born_last_into_the_sandboxs_processes(pod: Pod) -> None:
    """From the joiner to who executes: one entry, one end, one session; nothing is open in between."""
    sandbox = pod.sandbox()
    for attempt in range(10):  # who is faster, the joiner or who is born, is decided anew each time
        id = f"c.{attempt}"
        plan = pod.plan(id, new_namespaces=native.CLONE_NEWNS, proc=False)
        slot = plan.add(abi.NS_OP_SANDBOX_TREE, "/dev/shm", c=9)
        plan.ops.insert(0, plan.ops.pop(slot))
        with open(f"/proc/{sandbox.pid}/ns/pid") as processes:
            plan.add(abi.NS_OP_JOIN, fd=plan.fd(processes.fileno()), a=native.CLONE_NEWPID)
            plan.add(abi.NS_OP_PIVOT)
            plan.add(abi.NS_OP_SHUT)
            plan.add(abi.NS_OP_IDS, a=1000, b=1000)
            plan.add(abi.NS_OP_CAPS)
            plan.add(abi.NS_OP_BIRTH)
            plan.add(abi.NS_OP_SETSID)
            plan.run("report")
            started = pod.launch(id, plan)
        assert started.kind == abi.NS_MSG_DONE, started
        ended = pod.client.exit_of(id)
        assert (ended.pid, ended.start_ticks, ended.wait_status) == (started.pid, started.start_ticks, 0)
        lines = [record.content.decode() for record in pod.log(id) if record.stream == "stdout"]
        own = facts(lines, "pid")
        assert facts(lines, "sid") == own
        assert int(own[0]) > 1
        assert pod.record(id)["pid"] == started.pid


def test_birth_without_a_place_to_be_born_in(plain_pod: Pod) -> None:
    plan = plain_pod.plan("c.0")
    index = plan.add(abi.NS_OP_BIRTH)
    failed = plain_pod.launch("c.0", plain_pod.finished(plan, "report"))
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.index) == (abi.NS_OP_BIRTH, index)


def test_a_program_that_is_not_there_is_told_by_who_was_born(pod: Pod) -> None:
    sandbox = pod.sandbox()
    plan = pod.plan("c.0", new_namespaces=native.CLONE_NEWNS, proc=False)
    with open(f"/proc/{sandbox.pid}/ns/pid") as processes:
        plan.add(abi.NS_OP_JOIN, fd=plan.fd(processes.fileno()), a=native.CLONE_NEWPID)
        plan.add(abi.NS_OP_PIVOT)
        plan.add(abi.NS_OP_SHUT)
        plan.add(abi.NS_OP_BIRTH)
        index = plan.run(program="/nowhere")
        failed = pod.launch("c.0", plan)
    assert failed.failure is not None
    assert (failed.failure.step, failed.failure.index) == (abi.NS_OP_EXEC, index)
    assert not [entry for entry in pod.client.entries() if entry.id == "c.0"]
