"""Images and containers that try to lead the set-up of a rootfs astray: each test fails without its defence."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.native import Message, abi
from tests.native.plans import NULL_DEVICE, OWN_NAMESPACES, Plan, sealed
from tests.native.pods import Client, Pod, eventually, process_gone
from tests.native.test_exec import result, send
from tests.waiting import PATIENCE

pytestmark = pytest.mark.root

ELOOP = 40


def failed_with(message: Message) -> tuple[int, int]:
    assert message.kind == abi.NS_MSG_FAILED, message
    assert message.failure is not None
    return message.failure.step, message.failure.errno


def test_nobody_outlives_the_shim(pod: Pod) -> None:
    """Not even who clears the signal that comes when a parent dies: AppArmor and SELinux have the kernel do so, too."""
    pod.sandbox()
    started = pod.launch("c.0", pod.finished(pod.plan("c.0"), "outlive", "say", "ready", "hang"))
    eventually(lambda: [record.content for record in pod.log("c.0")] == [b"ready"], "the program runs")
    pod.kill_shim()
    eventually(lambda: process_gone(started.pid), "the end of the program")


@pytest.mark.parametrize(("place", "kind"), [("proc", "proc"), ("sys", "sysfs"), ("dev", "tmpfs")])
def test_linked_system_directory_is_refused(pod: Pod, place: str, kind: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2026-41579: /proc, /sys, /dev of the image is a symbolic link."""
    (pod.image / "elsewhere").mkdir()
    (pod.image / place).symlink_to("/elsewhere")
    plan = pod.plan("c.0", proc=False)
    plan.fs(kind, f"/{place}", real=1)
    assert failed_with(pod.launch("c.0", pod.finished(plan, "report"))) == (abi.NS_OP_FS, ELOOP)


def test_link_on_the_way_to_a_system_directory_is_refused(plain_pod: Pod) -> None:
    """Also when the directory itself is missing and had to be made first."""
    (plain_pod.image / "elsewhere").mkdir()
    (plain_pod.image / "way").symlink_to("/elsewhere")
    plan = plain_pod.plan("c.0")
    plan.fs("tmpfs", "/way/dev", real=1)
    assert failed_with(plain_pod.launch("c.0", plain_pod.finished(plan, "report"))) == (abi.NS_OP_FS, ELOOP)


def test_nodes_stay_inside(pod: Pod) -> None:
    """CVE-2026-41579: an image whose directories are links to the host gets its nodes inside its own root."""
    outside = pod.base / "outside"
    outside.mkdir()
    (pod.image / "nodes").symlink_to(outside)
    (pod.image / "dots").symlink_to("../../../../../../../.." + str(outside))
    plan = pod.plan("c.0")
    plan.node("/nodes/null", 0o666, NULL_DEVICE)
    plan.add(abi.NS_OP_MKDIR, "/dots/deep/er", a=0o755)
    plan.add(abi.NS_OP_SYMLINK, "target", "/nodes/link")
    lines = pod.run(
        "c.0", pod.finished(plan, "stat", "/nodes/null", "stat", f"{outside}/null", "stat", f"{outside}/deep")
    )
    assert list(outside.iterdir()) == []
    assert not [line for line in lines if "errno" in line], "links mean in the container what they mean to its programs"


def test_mounts_stay_inside(pod: Pod) -> None:
    """CVE-2021-30465 without the race: the target of a volume is a link to the host."""
    outside = pod.base / "outside"
    outside.mkdir()
    volume = pod.base / "volume"
    volume.mkdir()
    (volume / "data").write_text("data")
    (pod.image / "target").symlink_to(outside)
    tree = native.open_tree(-100, str(volume), native.OPEN_TREE_CLONE)
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_BIND, "/target/below", fd=plan.fd(tree.fileno()))
    plan.fs("tmpfs", "/target/other")
    lines = pod.run("c.0", pod.finished(plan, "read", "/target/below/data", "stat", f"{outside}/other"))
    tree.close()
    assert lines[0] == "read /target/below/data data"
    assert "errno" not in lines[1]
    assert list(outside.iterdir()) == []


def exchange(first: Path, second: Path) -> None:
    """renameat2(RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, os.fsencode(first), -100, os.fsencode(second), 2) == 0


def test_racing_links(plain_pod: Pod) -> None:
    """CVE-2021-30465, CVE-2024-45310: a neighbour swaps a directory of a shared volume with a link to the host, over
    and over, while containers start that have mounts and directories below it."""
    pod = plain_pod
    outside, volume = pod.base / "outside", pod.base / "volume"
    outside.mkdir()
    (volume / "a").mkdir(parents=True)
    (volume / "b").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            exchange(volume / "a", volume / "b")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for n in range(40):
            plan = pod.plan(f"c.{n}")
            tree = native.open_tree(-100, str(volume), native.OPEN_TREE_CLONE)
            plan.add(abi.NS_OP_BIND, "/v", fd=plan.fd(tree.fileno()))
            plan.add(abi.NS_OP_MKDIR, f"/v/a/{n}/deep", a=0o755)
            plan.fs("tmpfs", f"/v/a/{n}/tmp")
            if pod.launch(f"c.{n}", pod.finished(plan, "say", "hello")).kind == abi.NS_MSG_DONE:
                pod.client.exit_of(f"c.{n}")
            tree.close()
    finally:
        stop.set()
        swapper.join()
    assert list(outside.iterdir()) == []


def test_masks_do_not_trust_the_image(pod: Pod) -> None:
    """CVE-2025-31133: /dev/null of the image is a link to what should be hidden."""
    (pod.image / "dev").mkdir()
    (pod.image / "dev/null").symlink_to("/proc/sys/kernel/hostname")
    (pod.image / "secret").write_text("secret")
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_MASK, "/secret", str(pod.base / "empty"))
    lines = pod.run("c.0", pod.finished(plan, "stat", "/secret", "read", "/secret"))
    assert lines == ["stat /secret 20666 0:0 1:3", "read /secret "]


def test_masks_check_the_hosts_device(plain_pod: Pod) -> None:
    """Were the host's own /dev/null something else, nothing would be bound from there."""
    pod = plain_pod
    script = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from nsrun.support import native\n"
        "native.unshare(native.CLONE_NEWNS)\n"
        "native.mount('', '/', '', native.MS_REC | native.MS_PRIVATE)\n"
        "native.mount(sys.argv[3], '/dev/null', '', native.MS_BIND)\n"
        "print(native.spawn_shim(sys.argv[2], os.open(sys.argv[4], os.O_RDONLY), 'x'))\n"
    )
    (pod.base / "fake").write_text("")
    other = pod.base / "other"
    other.mkdir()
    (pod.image / "secret").write_text("secret")
    arguments = [str(Path(__file__).parents[2]), str(pod.program), str(pod.base / "fake"), str(other)]
    shim = int(subprocess.check_output([sys.executable, "-c", script, *arguments]))
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_MASK, "/secret", str(pod.base / "empty"))
    pod.shim_pid, first = shim, pod.shim_pid
    client = Client(other / "shim.sock")
    pod.clients.append(client)
    assert failed_with(pod.launch("c.0", pod.finished(plan, "report"), client=client)) == (abi.NS_OP_MASK, 19)
    assert client.ask(abi.NS_REQ_SHUTDOWN).kind == abi.NS_MSG_DONE
    pod.reap()
    pod.shim_pid = first


@pytest.mark.parametrize("number", [0, 1, 3, 5, 7, 9, 12, 64])
def test_working_directory_through_a_descriptor(plain_pod: Pod, number: int) -> None:
    """CVE-2024-21626: WORKDIR /proc/self/fd/<n>, directly or by a link, leads to no directory of the host."""
    pod = plain_pod
    (pod.image / "way-out").symlink_to(f"/proc/self/fd/{number}")
    for attempt, path in enumerate((f"/proc/self/fd/{number}", f"/proc/thread-self/fd/{number}/..", "/way-out")):
        message = pod.launch(f"c.{attempt}", pod.finished(pod.plan(f"c.{attempt}"), "report", cwd=path))
        assert failed_with(message)[0] == abi.NS_OP_CWD


def test_working_directory_is_made_inside(pod: Pod) -> None:
    """CVE-2026-55686: the way to WORKDIR is a link to the host."""
    outside = pod.base / "outside"
    outside.mkdir()
    (pod.image / "a").mkdir()
    (pod.image / "a/b").symlink_to(outside)
    lines = pod.run("c.0", pod.finished(pod.plan("c.0"), "stat", f"{outside}/c", cwd="/a/b/c"))
    assert list(outside.iterdir()) == []
    assert "errno" not in lines[0]


def test_log_is_never_a_link(pod: Pod) -> None:
    """CVE-2025-0750: what lies in the place of the log is not followed."""
    precious = pod.base / "precious"
    precious.write_text("precious")
    pod.log_path("c.0").symlink_to(precious)
    message = pod.launch("c.0", pod.finished(pod.plan("c.0"), "say", "hello"))
    assert failed_with(message) == (abi.NS_STEP_LOG, ELOOP)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("id", ["../x", "a/b", ".x", "", "a b", "a\nb", "-" * 120 + "/"])
def test_ids_cannot_lead_astray(plain_pod: Pod, id: str) -> None:
    memory = sealed(plain_pod.finished(plain_pod.plan("c"), "report").encode())
    message = plain_pod.client.ask(abi.NS_REQ_LAUNCH, fds=[memory], id=id, flags=abi.NS_LAUNCH_NO_LOG)
    os.close(memory)
    assert failed_with(message) == (abi.NS_STEP_REQUEST, 22)


@pytest.mark.parametrize("log", ["../x", "a/b", ".", "..", "", "/etc/passwd"])
def test_log_names_cannot_lead_astray(plain_pod: Pod, log: str) -> None:
    memory = sealed(plain_pod.finished(plain_pod.plan("c"), "report").encode())
    directory = os.open(plain_pod.base / "logs", os.O_RDONLY)
    message = plain_pod.client.ask(abi.NS_REQ_LAUNCH, fds=[memory, directory], id="c.0", log=log)
    os.close(memory)
    os.close(directory)
    assert failed_with(message) == (abi.NS_STEP_REQUEST, 22)


def test_plan_that_can_change_is_refused(plain_pod: Pod) -> None:
    """Between the check and the child nobody may write: an unsealed plan is not even read."""
    memory = sealed(plain_pod.finished(plain_pod.plan("c"), "report").encode(), seals=0)
    message = plain_pod.client.ask(abi.NS_REQ_LAUNCH, fds=[memory], id="c.0", flags=abi.NS_LAUNCH_NO_LOG)
    os.close(memory)
    assert failed_with(message) == (abi.NS_STEP_PLAN, 1)


def test_socket_is_private(plain_pod: Pod) -> None:
    """CVE-2020-15257: a path with a mode, nothing in the abstract name space."""
    assert (plain_pod.run_dir / "shim.sock").stat().st_mode & 0o777 == 0o600
    assert (plain_pod.run_dir / "exits").stat().st_mode & 0o777 == 0o700
    assert "@" not in Path("/proc/net/unix").read_text()


def test_other_users_are_turned_away(plain_pod: Pod) -> None:
    """Even if the modes let somebody in: the peer's uid decides."""
    (plain_pod.run_dir / "shim.sock").chmod(0o666)
    plain_pod.run_dir.chmod(0o755)
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.connect(sys.argv[1])\n"
        "print(s.recv(100))\n"
    )
    command = [sys.executable, "-I", "-c", script, str(plain_pod.run_dir / "shim.sock")]
    found = subprocess.run(
        command, user=1000, group=1000, extra_groups=[], capture_output=True, text=True, timeout=20 * PATIENCE
    )
    assert found.stdout.strip() == "b''" or "reset" in found.stderr
    assert plain_pod.client.ask(abi.NS_REQ_LIST).kind == abi.NS_MSG_DONE


def test_shim_cannot_be_traced(plain_pod: Pod) -> None:
    """CVE-2016-9962: neither shim nor child is dumpable, so an equal of theirs cannot attach without CAP_SYS_PTRACE."""
    script = (
        "import sys, ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "head = (ctypes.c_uint32 * 2)(0x20080522, 0)\n"
        "caps = (ctypes.c_uint32 * 6)()\n"
        "assert libc.capget(head, caps) == 0\n"
        "caps[0] = caps[3] = 0\n"  # effective, not permitted: as many rights as the shim, but none at hand
        "assert libc.capset(head, caps) == 0\n"
        "print(libc.ptrace(0x4206, int(sys.argv[1]), None, None))\n"
    )

    def attach(pid: int) -> str:
        return subprocess.check_output([sys.executable, "-I", "-c", script, str(pid)], text=True).strip()

    other = subprocess.Popen(["sleep", "60"])
    try:
        assert attach(other.pid) == "0", "the test would notice"
    finally:
        other.kill()
        other.wait()
    assert attach(plain_pod.shim_pid) == "-1"


def test_killed_shim_takes_its_containers_along(pod: Pod) -> None:
    """Also those that changed their identity, which makes the kernel forget the parent-death signal."""
    sandbox = pod.sandbox()
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_PIVOT)
    plan.add(abi.NS_OP_IDS, a=1000, b=1000)
    plan.add(abi.NS_OP_CAPS)
    plan.run("leave", "60", "hang")
    container = pod.launch("c.0", plan)
    assert container.kind == sandbox.kind == abi.NS_MSG_DONE
    pod.kill_shim()
    eventually(lambda: process_gone(sandbox.pid) and process_gone(container.pid), "the end of the pod")


def test_descriptors_of_refused_requests_are_closed(plain_pod: Pod) -> None:
    before = plain_pod.shim_fds()
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    for kind in (abi.NS_REQ_LIST, abi.NS_REQ_SHUTDOWN, 99):
        assert failed_with(plain_pod.client.ask(kind, fds=fds)) == (abi.NS_STEP_REQUEST, 22)
    memory = sealed(b"x" * 4096)
    refused = plain_pod.client.ask(abi.NS_REQ_LAUNCH, fds=[memory, *fds], id="c.0", flags=abi.NS_LAUNCH_NO_LOG)
    assert failed_with(refused) == (abi.NS_STEP_PLAN, 22)
    for fd in (*fds, memory):
        os.close(fd)
    eventually(lambda: plain_pod.shim_fds() == before, "the closing of every descriptor")


def test_requests_of_a_wrong_size(pod: Pod) -> None:
    for size in (0, 1, 12, 511, 513, 4000):
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        raw.connect(str(pod.run_dir / "shim.sock"))
        raw.settimeout(20 * PATIENCE)
        raw.send(b"\x01" * size)
        data = raw.recv(4096)
        raw.close()
        # An empty message cannot be told from the end of the connection.
        assert (data == b"") if size == 0 else failed_with(native.unpack_message(data))[0] == abi.NS_STEP_REQUEST
    assert pod.client.ask(abi.NS_REQ_LIST).kind == abi.NS_MSG_DONE


# --- who joins a container

NO_TRACE = 1 << 0 | 1 << 6 | 1 << 7  # CAP_CHOWN, CAP_SETGID, CAP_SETUID, and not CAP_SYS_PTRACE


def joined_slowly(*, dumpable: bool) -> Plan:
    """A command that has no more than its container when it is born there, and then is in no hurry."""
    plan = Plan(new_namespaces=0)
    plan.add(abi.NS_OP_ENTER, a=OWN_NAMESPACES)
    plan.add(abi.NS_OP_CAPS, a=NO_TRACE, b=NO_TRACE)
    plan.add(abi.NS_OP_BIRTH)
    if dumpable:
        plan.add(abi.NS_OP_DUMPABLE, a=1)
    for _ in range(20):
        plan.groups(*range(4_000, 0, -1))
    plan.run("exit", "0")
    return plan


@pytest.mark.parametrize("dumpable", [False, True])
def test_who_joins_cannot_be_looked_into(plain_pod: Pod, dumpable: bool) -> None:
    """CVE-2016-9962: what keeps those with the same power off is that it is not dumpable, and nothing else: told to be,
    it is looked into."""
    pod = plain_pod
    source = Path(__file__).parent.parent / "attacks/runtime/watcher.c"
    cc = os.environ.get("CC", "cc")
    subprocess.run([cc, "-O2", "-static", "-o", pod.image / "bin/watcher", source], check=True)
    plan = pod.plan("c.0")
    plan.add(abi.NS_OP_PIVOT)
    plan.add(abi.NS_OP_CWD, "/")
    plan.add(abi.NS_OP_CAPS, a=NO_TRACE, b=NO_TRACE)
    plan.run(program="/bin/watcher")
    assert pod.launch("c.0", plan).kind == abi.NS_MSG_DONE
    eventually(lambda: b"ready" in pod.log_path("c.0").read_bytes(), "the watcher's first look")

    def seen() -> list[bytes]:
        assert result(pod.client, send(pod, joined_slowly(dumpable=dumpable))).wait_status == 0
        return [record.content for record in pod.log("c.0")]

    eventually(lambda: any(line.startswith(b"caps ") for line in seen()), "one is caught before it executes")
    eventually(lambda: len(seen()) > 20, "more of them")
    assert any(line.startswith(b"fd ") for line in seen()) == dumpable
    assert any(line == b"trace attached" for line in seen()) <= dumpable
