"""The shim as a parent and a server: ends, records, clients that vanish, signals, memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.native import abi
from tests.native.conftest import Programs
from tests.native.plans import Plan, texts
from tests.native.pods import Pod, cgroup2, eventually, process_gone

pytestmark = pytest.mark.root


def bare_plan(program: str, *arguments: str) -> Plan:
    """No namespace, no rootfs: a program of the host."""
    plan = Plan(new_namespaces=0)
    plan.add(abi.NS_OP_EXEC, texts(program), texts("reporter", *arguments), b"")
    return plan


def step_and_errno(message: native.Message) -> tuple[int, int]:
    assert message.failure is not None, message
    return message.failure.step, message.failure.errno


# --- ends


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_exit_codes(pod: Pod, code: int) -> None:
    started = pod.launch("c.0", pod.finished(pod.plan("c.0"), "exit", str(code)))
    ended = pod.client.exit_of("c.0")
    assert os.waitstatus_to_exitcode(ended.wait_status) == code
    assert ended.state == abi.NS_STATE_EXITED
    assert (ended.pid, ended.started_ns) == (started.pid, started.started_ns)
    assert started.started_ns < ended.exited_ns
    record = {"pid": ended.pid, "started_ns": ended.started_ns, "exited_ns": ended.exited_ns}
    assert pod.record("c.0") == record | {"wait_status": ended.wait_status, "dropped": 0}
    assert os.listdir(pod.run_dir / "exits") == ["c.0"], "no temporary file is left"


def test_killed_by_a_signal(pod: Pod) -> None:
    started = pod.launch("c.0", pod.finished(pod.plan("c.0"), "hang"))
    assert started.start_ticks == int(Path(f"/proc/{started.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    assert pod.client.ask(abi.NS_REQ_SIGNAL, id="c.0", value=0).kind == abi.NS_MSG_DONE
    assert pod.client.ask(abi.NS_REQ_SIGNAL, id="c.0", value=signal.SIGKILL).kind == abi.NS_MSG_DONE
    assert pod.client.exit_of("c.0").wait_status == signal.SIGKILL
    assert step_and_errno(pod.client.ask(abi.NS_REQ_SIGNAL, id="c.0", value=9)) == (abi.NS_STEP_SIGNAL, 3)


def test_core_dump_bit_of_the_status(plain_pod: Pod) -> None:
    plan = bare_plan(str(plain_pod.reporter), "die", str(int(signal.SIGABRT)))
    plain_pod.launch("c.0", plan, flags=abi.NS_LAUNCH_NO_LOG)
    assert os.WTERMSIG(plain_pod.client.exit_of("c.0").wait_status) == signal.SIGABRT


def test_start_is_told_before_the_end(pod: Pod) -> None:
    serials = {pod.send_launch(f"c.{n}", pod.finished(pod.plan(f"c.{n}"), "exit", "0")): f"c.{n}" for n in range(10)}
    started: set[str] = set()
    ended: set[str] = set()
    while len(ended) < len(serials):
        message = pod.client.receive()
        if message.kind == abi.NS_MSG_DONE:
            started.add(serials[message.serial])
        else:
            assert message.kind == abi.NS_MSG_EXIT
            assert message.id in started
            ended.add(message.id)


def test_record_that_cannot_be_written(plain_pod: Pod) -> None:
    """The end is told all the same, and the message says so."""
    (plain_pod.run_dir / "exits/c.0").mkdir()
    plain_pod.launch("c.0", plain_pod.finished(plain_pod.plan("c.0"), "exit", "4"))
    message = plain_pod.client.exit_of("c.0")
    assert os.waitstatus_to_exitcode(message.wait_status) == 4
    assert step_and_errno(message) == (abi.NS_STEP_RECORD, 21)
    (plain_pod.run_dir / "exits/c.0").rmdir()
    assert os.listdir(plain_pod.run_dir / "exits") == []


def test_orphans_are_adopted_and_reaped(plain_pod: Pod) -> None:
    """A grandchild that outlives its container becomes the shim's child, and leaves no zombie."""
    pod = plain_pod
    pod.run("c.0", pod.finished(pod.plan("c.0", new_namespaces=native.CLONE_NEWNS), "abandon", "exit", "0"))
    orphans = pod.children()
    assert len(orphans) == 1
    os.kill(orphans[0], signal.SIGKILL)
    eventually(lambda: pod.children() == [], "the reaping of the orphan")
    assert [entry.id for entry in pod.client.entries()] == ["c.0"]


# --- entries


def test_entries_and_forgetting(pod: Pod) -> None:
    before = pod.shim_fds()
    assert step_and_errno(pod.client.ask(abi.NS_REQ_FORGET, id="c.0")) == (abi.NS_STEP_REQUEST, 2)
    pod.launch("c.0", pod.finished(pod.plan("c.0"), "hang"))
    again = pod.launch("c.0", pod.finished(pod.plan("c.0"), "hang"))
    assert step_and_errno(again) == (abi.NS_STEP_REQUEST, 17)
    assert step_and_errno(pod.client.ask(abi.NS_REQ_FORGET, id="c.0")) == (abi.NS_STEP_REQUEST, 16)
    assert [(e.id, e.state) for e in pod.client.entries()] == [("c.0", abi.NS_STATE_RUNNING)]
    pod.client.ask(abi.NS_REQ_SIGNAL, id="c.0", value=9)
    pod.client.exit_of("c.0")
    assert [(e.id, e.state) for e in pod.client.entries()] == [("c.0", abi.NS_STATE_EXITED)]
    assert pod.client.ask(abi.NS_REQ_FORGET, id="c.0").kind == abi.NS_MSG_DONE
    assert pod.client.entries() == []
    assert os.listdir(pod.run_dir / "exits") == []
    assert pod.shim_fds() == before, "an ended process costs no descriptor"


def test_table_is_bounded_and_places_are_used_again(plain_pod: Pod) -> None:
    pod = plain_pod
    before = pod.shim_fds()
    full = 256
    for n in range(full):
        message = pod.launch(f"c.{n}", bare_plan(str(pod.reporter), "exit", "0"), flags=abi.NS_LAUNCH_NO_LOG)
        assert message.kind == abi.NS_MSG_DONE
    refused = pod.launch("one-more", bare_plan(str(pod.reporter)), flags=abi.NS_LAUNCH_NO_LOG)
    assert step_and_errno(refused) == (abi.NS_STEP_REQUEST, 28)
    for n in range(full):
        pod.client.exit_of(f"c.{n}")
    assert len(pod.connect().entries()) == full
    for n in range(full):
        assert pod.client.ask(abi.NS_REQ_FORGET, id=f"c.{n}").kind == abi.NS_MSG_DONE
    assert pod.launch("c.0", pod.finished(pod.plan("c.0"), "say", "x")).kind == abi.NS_MSG_DONE
    pod.client.exit_of("c.0")
    pod.clients.pop().close()
    eventually(lambda: pod.shim_fds() == before, "the closing of every descriptor")


# --- failing starts


def test_failures_say_where(pod: Pod) -> None:
    """Step, errno and the operation's index, and nothing is left."""
    before = pod.shim_fds()
    cases: list[tuple[Callable[[Plan], int], int, int]] = [
        (lambda plan: plan.fs("no-such-fs", "/x"), abi.NS_OP_FS, 19),
        (lambda plan: plan.fs("tmpfs", "/x", "nonsense=1"), abi.NS_OP_FS, 22),
        (lambda plan: plan.add(abi.NS_OP_OPEN, "/no/such/path", c=20), abi.NS_OP_OPEN, 2),
        (lambda plan: plan.add(abi.NS_OP_MKNOD, "/proc/null", a=0o20666), abi.NS_OP_MKNOD, 2),
        (lambda plan: plan.add(abi.NS_OP_SYMLINK, "x", "/bin"), abi.NS_OP_SYMLINK, 17),
        (lambda plan: plan.add(abi.NS_OP_MKDIR, "/bin/reporter/x", a=0o755), abi.NS_OP_MKDIR, 20),
        (lambda plan: plan.add(abi.NS_OP_CWD, "/bin/reporter"), abi.NS_OP_CWD, 20),
        (lambda plan: plan.add(abi.NS_OP_UNSHARE, a=1), abi.NS_OP_UNSHARE, 22),
        (lambda plan: plan.add(abi.NS_OP_PDEATHSIG, a=1000), abi.NS_OP_PDEATHSIG, 22),
        (lambda plan: plan.add(abi.NS_OP_RLIMIT, a=1000), abi.NS_OP_RLIMIT, 22),
        (lambda plan: plan.add(abi.NS_OP_SECCOMP, b"\xff" * 8), abi.NS_OP_SECCOMP, 22),
        (lambda plan: plan.add(abi.NS_OP_OOM_SCORE, a=1001), abi.NS_OP_OOM_SCORE, 22),
    ]
    for n, (spoil, step, errno) in enumerate(cases):
        plan = pod.plan(f"c.{n}")
        index = spoil(plan)
        message = pod.launch(f"c.{n}", pod.finished(plan, "report"))
        assert message.kind == abi.NS_MSG_FAILED
        assert message.failure == native.Failure(step=step, errno=errno, index=index), native.step_name(step)
    assert pod.client.entries() == []
    assert os.listdir(pod.run_dir / "exits") == []
    assert pod.shim_fds() == before


def test_tolerated_failures_are_told_up_to_a_bound(pod: Pod) -> None:
    plan = pod.plan("c.0")
    first = len(plan.ops)
    for _ in range(20):
        plan.add(abi.NS_OP_MKDIR, "/bin/reporter/x", flags=abi.NS_TOLERATE)
    message = pod.launch("c.0", pod.finished(plan, "report"))
    assert message.kind == abi.NS_MSG_DONE
    assert [failure.index for failure in message.tolerated] == list(range(first, first + 16))
    pod.client.exit_of("c.0")


def test_malformed_plan_names_the_operation(plain_pod: Pod) -> None:
    plan = plain_pod.plan("c.0")
    index = plan.add(99)
    message = plain_pod.launch("c.0", plain_pod.finished(plan, "report"))
    assert message.failure == native.Failure(step=abi.NS_STEP_PLAN, errno=22, index=index)


def test_cgroup_that_takes_no_process(plain_pod: Pod) -> None:
    """A cgroup.procs that cannot be written: the child is gone before the answer comes."""
    plan = plain_pod.plan("c.0")
    read_only = os.open("/dev/null", os.O_RDONLY)
    plan.procs_fds = [plan.fd(read_only)]
    message = plain_pod.launch("c.0", plain_pod.finished(plan, "hang"))
    os.close(read_only)
    assert message.failure == native.Failure(step=abi.NS_STEP_PLACE, errno=9, index=0)


@pytest.mark.parametrize("gated", [True, False])
def test_gate(plain_pod: Pod, gated: bool) -> None:
    """The program runs only after its pid was written to every cgroup.procs, whether its plan has a gate or not. Here
    the write blocks: it goes to a pipe that is full."""
    pod = plain_pod
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    plan = pod.plan("c.0")
    plan.procs_fds = [plan.fd(writer)]
    if gated:
        plan.add(abi.NS_OP_GATE)
    serial = pod.send_launch("c.0", pod.finished(plan, "exit", "0"))
    eventually(lambda: len(pod.children()) == 1, "the clone")
    child = pod.children()[0]
    read_calls = ("0 ", "63 ")  # x86-64, arm64
    eventually(lambda: Path(f"/proc/{child}/syscall").read_text().startswith(read_calls), "the wait at the gate")
    while size > 0:
        size -= len(os.read(reader, min(size, 65536)))
    assert pod.client.answer(serial).pid == child
    assert os.read(reader, 100) == str(child).encode()
    pod.client.exit_of("c.0")
    os.close(reader)
    os.close(writer)


def test_killed_before_it_could_exec(plain_pod: Pod, cgroup_root: str) -> None:
    """Its launch failed, and says so; with its client gone meanwhile, it counts as an end."""
    pod = plain_pod
    group = cgroup2() / cgroup_root
    group.mkdir()
    (group / "cgroup.freeze").write_text("1")
    group_fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    serials = {}
    other = pod.connect()
    for id, client in (("here.0", pod.client), ("gone.0", other)):
        plan = pod.plan(id)
        plan.cgroup_fd = plan.fd(group_fd)
        serials[id] = pod.send_launch(id, pod.finished(plan, "hang"), client=client)
    eventually(lambda: len(pod.client.entries()) == 2, "both launches")
    other.close()
    for id in serials:
        assert pod.client.ask(abi.NS_REQ_SIGNAL, id=id, value=9).kind == abi.NS_MSG_DONE
    assert step_and_errno(pod.client.answer(serials["here.0"])) == (abi.NS_STEP_CHILD, 10)
    message = pod.client.exit_of("gone.0")
    assert step_and_errno(message) == (abi.NS_STEP_CHILD, 10)
    assert message.wait_status == 9
    assert pod.record("gone.0")["wait_status"] == 9
    assert [entry.id for entry in pod.client.entries()] == ["gone.0"]
    os.close(group_fd)


# --- clients


def test_subscriber_is_told_what_it_missed(pod: Pod) -> None:
    pod.run("c.0", pod.finished(pod.plan("c.0"), "exit", "3"))
    late = pod.connect()
    assert late.ask(abi.NS_REQ_SUBSCRIBE).kind == abi.NS_MSG_DONE
    assert os.waitstatus_to_exitcode(late.exit_of("c.0").wait_status) == 3


def test_killed_client(pod: Pod) -> None:
    """kill -9 of whoever asked: containers run on, another client finds them, their ends are known."""
    script = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.native.pods import Client\n"
        "from nsrun.support.native import abi\n"
        "client = Client(Path(sys.argv[2]))\n"
        "client.ask(abi.NS_REQ_SUBSCRIBE)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    pod.launch("c.0", pod.finished(pod.plan("c.0"), "say", "one", "await", "say", "two", "exit", "9"))
    eventually(lambda: pod.log_path("c.0").stat().st_size > 0, "the first record")
    killed = subprocess.run([sys.executable, "-c", script, os.getcwd(), str(pod.run_dir / "shim.sock")])
    assert killed.returncode == -9
    pod.proceed("c.0")
    pod.client.close()
    eventually(lambda: (pod.run_dir / "exits/c.0").exists(), "the exit record, with nobody connected")
    pod.client = pod.connect()
    pod.client.ask(abi.NS_REQ_SUBSCRIBE)
    assert os.waitstatus_to_exitcode(pod.client.exit_of("c.0").wait_status) == 9
    assert [record.content for record in pod.log("c.0")] == [b"one", b"two"]


def test_client_that_does_not_read(pod: Pod) -> None:
    """It is dropped once its queue is full; nobody else waits for it meanwhile."""
    pod.launch("c.0", pod.finished(pod.plan("c.0"), "hang"))
    stuck = pod.connect()
    stuck.ask(abi.NS_REQ_SUBSCRIBE)
    sent = 0
    try:
        for _ in range(100_000):
            stuck.send(abi.NS_REQ_LIST)
            sent += 1
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert 100 < sent < 100_000
    assert pod.client.ask(abi.NS_REQ_LIST).kind == abi.NS_MSG_DONE
    pod.client.ask(abi.NS_REQ_SIGNAL, id="c.0", value=9)
    assert pod.client.exit_of("c.0").wait_status == 9


def test_more_clients_than_places(plain_pod: Pod) -> None:
    before = plain_pod.shim_fds()
    places = abi.NS_MAX_CLIENTS - 1  # beside the pod's own
    extra = []
    for _ in range(places):
        extra.append(plain_pod.connect())
        assert extra[-1].ask(abi.NS_REQ_LIST).kind == abi.NS_MSG_DONE
    for _ in range(5):
        extra.append(plain_pod.connect())
        assert extra[-1].socket.recv(1) == b""
    for client in extra:
        client.close()
    eventually(lambda: plain_pod.shim_fds() == before, "the closing of every connection")
    assert plain_pod.connect().ask(abi.NS_REQ_LIST).kind == abi.NS_MSG_DONE


# --- the shim itself


def test_shim_is_a_daemon(pod: Pod) -> None:
    proc = Path(f"/proc/{pod.shim_pid}")
    fields = proc.joinpath("stat").read_text().rsplit(")", 1)[1].split()
    assert fields[3] == str(pod.shim_pid), "a session of its own"
    assert fields[1] == "1" or os.getpid() != 1, "nobody's child here"
    assert os.readlink(proc / "cwd") == str(pod.run_dir)
    assert proc.joinpath("environ").read_bytes() == b""
    assert proc.joinpath("cmdline").read_bytes() == b"nsrun-shim\0a-pod\0"
    assert {os.readlink(proc / "fd" / name) for name in "012"} == {"/dev/null"}
    for name in ("mnt", "net", "pid", "uts", "ipc", "cgroup"):
        assert os.readlink(proc / "ns" / name) == os.readlink(f"/proc/self/ns/{name}")


def test_signals_do_not_end_the_shim(pod: Pod) -> None:
    started = pod.launch("c.0", pod.finished(pod.plan("c.0"), "hang"))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1):
        os.kill(pod.shim_pid, number)
    assert [entry.id for entry in pod.client.entries()] == ["c.0"]
    assert not process_gone(started.pid)


def test_shutdown_leaves_nothing_alive(pod: Pod) -> None:
    """Containers, what they left behind, and pause; the records stay."""
    sandbox = pod.sandbox()
    container = pod.launch("c.0", pod.finished(pod.plan("c.0"), "hang"))
    plan = pod.finished(pod.plan("d.0", new_namespaces=native.CLONE_NEWNS), "leave", "60", "exit", "0")
    pod.launch("d.0", plan)
    pod.client.exit_of("d.0")
    pod.close()
    pod.ended = True
    assert process_gone(sandbox.pid)
    assert process_gone(container.pid)
    assert pod.record("sandbox")["wait_status"] == pod.record("c.0")["wait_status"] == 9


def test_end_of_pause_is_told(pod: Pod) -> None:
    sandbox = pod.sandbox()
    status = Path(f"/proc/{sandbox.pid}/status")
    # Before its first system call a PID 1 loses signals that it has no handler for.
    eventually(lambda: "SigBlk:\t0000000000000000" not in status.read_text(), "the blocking of signals")
    for ignored in (signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
        os.kill(sandbox.pid, ignored)
    assert not process_gone(sandbox.pid)
    os.kill(sandbox.pid, signal.SIGTERM)
    assert pod.client.exit_of("sandbox").wait_status == 0


def test_one_shim_for_a_directory(pod: Pod) -> None:
    first = pod.shim_pid
    with pytest.raises(OSError, match="in use"):
        pod.spawn()
    assert pod.shim_pid == first
    assert pod.client.ask(abi.NS_REQ_LIST).kind == abi.NS_MSG_DONE


def test_socket_of_a_dead_shim_is_replaced(plain_pod: Pod) -> None:
    plain_pod.kill_shim()
    assert (plain_pod.run_dir / "shim.sock").exists()
    plain_pod.spawn()
    plain_pod.ended = False
    assert plain_pod.connect().entries() == []


def test_spawn_fails_in_words(programs: Programs, tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        native.spawn_shim("/no/such/shim", directory, "x")
    with pytest.raises(ChildProcessError):
        native.spawn_shim("/bin/true", directory, "x")
    (tmp_path / "exits").write_text("in the way")
    with pytest.raises(NotADirectoryError):
        native.spawn_shim(str(programs.shim("plain")), directory, "x")
    os.close(directory)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_glibc_build_works_as_well(programs: Programs, repo: Path, tmp_path: Path) -> None:
    """Where musl-gcc is not installed, the shim is linked with glibc."""
    make = ["make", "--silent", "-C", str(repo / "native"), f"BIN={tmp_path}", "STATIC_CC=cc", "programs"]
    subprocess.run(make, check=True)
    base = Path("/run/native-tests-glibc")
    pod = Pod(base=base, program=tmp_path / "nsrun-shim", reporter=programs.reporter, pause=programs.pause)
    assert pod.run("c.0", pod.finished(pod.plan("c.0"), "say", "hello")) == ["hello"]
    pod.close()


def rollup(pid: int) -> int:
    """What is its own, in KiB: the program's text is shared by the shims of all pods."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    raise AssertionError(f"no memory of {pid}")


def test_memory(plain_pod: Pod) -> None:
    """Shim and pause with two containers that have logged: a small fraction of the 400 KiB that are allowed."""
    sandbox = plain_pod.sandbox()
    for id in ("a.0", "b.0"):
        plan = plain_pod.finished(plain_pod.plan(id), "flood", "1000", "mutter", "held", "hang")
        assert plain_pod.launch(id, plan).kind == abi.NS_MSG_DONE
        eventually(lambda id=id: len(plain_pod.log(id)) == 1000, "the log")  # type: ignore[misc]
    assert rollup(plain_pod.shim_pid) + rollup(sandbox.pid) <= 200
