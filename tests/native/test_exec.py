"""Commands in containers, at the level of requests: both shims, odd requests, ends of all kinds."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.native import Message, abi
from tests.native.plans import OWN_NAMESPACES, Plan, sealed
from tests.native.pods import Client, Pod, cgroup2, eventually, process_gone

pytestmark = pytest.mark.root

ALL = OWN_NAMESPACES


def command(*words: str, flags: int = ALL, birth: bool = True) -> Plan:
    """Joins and runs the reporter."""
    plan = Plan(new_namespaces=0)
    plan.add(abi.NS_OP_ENTER, a=flags)
    if birth:
        plan.add(abi.NS_OP_BIRTH)
    plan.run(*words)
    return plan


def send(
    pod: Pod,
    plan: Plan,
    *fds: int,
    id: str = "c.0",
    client: Client | None = None,
    flags: int = 0,
    output_limit: int = 10_000,
    timeout_ns: int = 0,
) -> int:
    memory = sealed(plan.encode())
    asked = {"flags": flags, "output_limit": output_limit, "timeout_ns": timeout_ns}
    try:
        return (client or pod.client).send(abi.NS_REQ_EXEC, fds=[memory, *fds], id=id, **asked)
    finally:
        os.close(memory)


def result(client: Client, serial: int) -> Message:
    """The answer to a command; what else comes is kept."""
    while True:
        for message in client.unasked:
            if message.serial == serial and message.kind in (abi.NS_MSG_RESULT, abi.NS_MSG_FAILED):
                client.unasked.remove(message)
                return message
        client.unasked.append(native.unpack_message(client.socket.recv(native.MESSAGE_SIZE + abi.NS_OUTPUT_MAX)))


def run(pod: Pod, plan: Plan, *fds: int, flags: int = 0, output_limit: int = 10_000, timeout_ns: int = 0) -> Message:
    return result(pod.client, send(pod, plan, *fds, flags=flags, output_limit=output_limit, timeout_ns=timeout_ns))


def failure(message: Message) -> tuple[int, int]:
    assert message.kind == abi.NS_MSG_FAILED
    assert message.failure is not None
    return message.failure.step, message.failure.errno


def hanging(pod: Pod, id: str = "c.0", *, cgroup: int | None = None) -> Message:
    """A container that runs until it is killed."""
    plan = pod.finished(pod.plan(id), "hang")
    if cgroup is not None:
        plan.cgroup_fd = plan.fd(cgroup)
    started = pod.launch(id, plan)
    assert started.kind == abi.NS_MSG_DONE, started
    return started


def test_output_code_and_nothing_left(pod: Pod) -> None:
    hanging(pod)
    before = len(pod.shim_fds())
    ended = run(pod, command("say", "out", "complain", "err", "exit", "7"))
    assert ended.kind == abi.NS_MSG_RESULT
    assert (sorted(ended.output.split()), ended.flags) == ([b"err", b"out"], 0)
    assert os.waitstatus_to_exitcode(ended.wait_status) == 7
    assert ended.started_ns < ended.exited_ns
    assert run(pod, command("die", "9")).wait_status == signal.SIGKILL
    eventually(lambda: len(pod.children()) == 1, "the end of the joiners")
    eventually(lambda: len(pod.shim_fds()) <= before, "the end of what they had open")
    assert os.listdir(pod.run_dir / "exits") == [], "no record is written"
    assert [entry.id for entry in pod.client.entries()] == ["c.0"]


def test_it_is_inside(pod: Pod) -> None:
    started = hanging(pod)
    said = run(pod, command("report"), output_limit=65536).output.decode().splitlines()
    for name in ("mnt", "pid", "uts", "ipc"):
        assert f"ns {name} {os.readlink(f'/proc/{started.pid}/ns/{name}')}" in said
    fds = [line.split()[1] for line in said if line.startswith("fd ")]
    assert fds == ["0", "1", "2"]
    assert "fd 0 /dev/null" in said or any(line.startswith("fd 0 ") and "null" in line for line in said)
    assert "pdeathsig 9" in said


def test_output_is_cut(pod: Pod) -> None:
    hanging(pod)
    ended = run(pod, command("put", "300000"), output_limit=1000)
    assert (ended.output, ended.flags) == (b"x" * 1000, abi.NS_RESULT_CUT)
    assert run(pod, command("put", "1000"), output_limit=1000).flags == 0
    assert run(pod, command("put", "1000"), output_limit=0).output == b""
    whole = run(pod, command("put", str(abi.NS_OUTPUT_MAX)), output_limit=abi.NS_OUTPUT_MAX)
    assert (len(whole.output), whole.flags) == (abi.NS_OUTPUT_MAX, 0)


def test_stdio_of_the_one_who_asks(pod: Pod) -> None:
    """No byte goes through the shim."""
    hanging(pod)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        ended = run(pod, command("say", "hello"), fd, fd, fd, flags=abi.NS_EXEC_STDIO)
        theirs.close()
        assert (ended.output, ours.recv(100)) == (b"", b"hello\n")


def test_what_cannot_be_done(pod: Pod) -> None:
    assert failure(run(pod, command("say", "x"))) == (abi.NS_STEP_REQUEST, 3)
    hanging(pod)
    plan = Plan(new_namespaces=0)
    plan.add(abi.NS_OP_ENTER, a=ALL)
    plan.add(abi.NS_OP_BIRTH)
    plan.run("x", program="/no/such")
    assert failure(run(pod, plan)) == (abi.NS_OP_EXEC, 2)
    plan = Plan(new_namespaces=0)
    plan.add(abi.NS_OP_BIRTH)
    plan.run("exit", "0")
    assert failure(run(pod, plan)) == (abi.NS_OP_BIRTH, 22)
    plan = command("exit", "0")
    plan.ops.insert(1, plan.ops[0])
    assert failure(run(pod, plan)) == (abi.NS_OP_ENTER, 22)
    for flags in (0, 1, native.CLONE_NEWNS | 1 << 40):
        assert failure(run(pod, command("exit", "0", flags=flags))) == (abi.NS_STEP_PLAN, 22)
    started = pod.launch("d.0", command("exit", "0"))
    assert failure(started) == (abi.NS_OP_ENTER, 22), "a launch enters nothing"
    pod.client.ask(abi.NS_REQ_SIGNAL, id="c.0", value=9)
    pod.client.exit_of("c.0")
    assert failure(run(pod, command("say", "x"))) == (abi.NS_STEP_REQUEST, 3)


@pytest.mark.parametrize(
    ("fds", "flags", "limit"),
    [
        (0, abi.NS_EXEC_STDIO, 1),
        (2, abi.NS_EXEC_STDIO, 1),
        (1, 0, 1),
        (3, 0, 1),
        (0, 8, 1),
        (3, abi.NS_EXEC_STDIO | abi.NS_EXEC_TERMINAL, 1),
        (0, 0, abi.NS_OUTPUT_MAX + 1),
    ],
)
def test_requests_that_make_no_sense(pod: Pod, fds: int, flags: int, limit: int) -> None:
    hanging(pod)
    ended = run(pod, command("exit", "0"), *[0] * fds, flags=flags, output_limit=limit)
    assert failure(ended) == (abi.NS_STEP_REQUEST, 22)


def test_plans_take_no_descriptors_along(pod: Pod) -> None:
    hanging(pod)
    plan = command("exit", "0")
    plan.fds = [0]
    assert failure(run(pod, plan))[0] == abi.NS_STEP_PLAN


def test_timeout(pod: Pod) -> None:
    hanging(pod)
    ended = run(pod, command("say", "up", "hang"), timeout_ns=500_000_000)
    assert (ended.flags, ended.output, ended.wait_status) == (abi.NS_RESULT_TIMED_OUT, b"up\n", signal.SIGKILL)
    assert run(pod, command("exit", "3"), timeout_ns=2**64 - 1).wait_status == 3 << 8


def test_the_client_goes(pod: Pod) -> None:
    """Its command goes too, unless it was told to stay."""
    hanging(pod)
    client = pod.connect()
    send(pod, command("hang"), client=client)
    send(pod, command("hang"), client=client, flags=abi.NS_EXEC_DETACHED)
    eventually(lambda: len(inside(pod)) == 3, "both run")
    client.close()
    pod.clients.remove(client)
    eventually(lambda: len(inside(pod)) == 2, "one is left")
    assert run(pod, command("say", "still")).output == b"still\n"


def inside(pod: Pod) -> list[int]:
    """Children of the shim that have a process namespace of their own: joiners do not."""
    own = os.readlink(f"/proc/{pod.shim_pid}/ns/pid")
    found = []
    for pid in pod.children():
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") != own:
                found.append(pid)
        except OSError:
            continue
    return found


def test_cancelled_by_its_own_client_only(pod: Pod) -> None:
    hanging(pod)
    serial = send(pod, command("hang"))
    eventually(lambda: len(inside(pod)) == 2, "it runs")
    other = pod.connect()
    assert other.ask(abi.NS_REQ_CANCEL, of_serial=serial).kind == abi.NS_MSG_DONE
    assert len(inside(pod)) == 2
    cancelled = pod.client.send(abi.NS_REQ_CANCEL, of_serial=serial)
    ended = result(pod.client, serial)
    assert (ended.wait_status, ended.flags) == (signal.SIGKILL, 0)
    assert pod.client.answer(cancelled).kind == abi.NS_MSG_DONE


def test_the_container_ends(pod: Pod) -> None:
    hanging(pod)
    serials = [send(pod, command("hang")) for _ in range(10)]
    eventually(lambda: len(inside(pod)) == 11, "they run")
    pod.client.send(abi.NS_REQ_SIGNAL, id="c.0", value=9)
    for serial in serials:
        assert result(pod.client, serial).wait_status == signal.SIGKILL
    pod.client.exit_of("c.0")


def test_the_container_ends_while_commands_begin(pod: Pod) -> None:
    """Whatever becomes of each, it is told, and nothing is left."""
    for attempt in range(20):
        id = f"c.{attempt}"
        hanging(pod, id)
        serials = [send(pod, command("hang"), id=id) for _ in range(5)]
        pod.client.send(abi.NS_REQ_SIGNAL, id=id, value=9)
        serials += [send(pod, command("hang"), id=id) for _ in range(5)]
        for serial in serials:
            ended = result(pod.client, serial)
            assert ended.kind == abi.NS_MSG_FAILED or ended.wait_status == signal.SIGKILL
        pod.client.exit_of(id)
        assert pod.client.ask(abi.NS_REQ_FORGET, id=id).kind == abi.NS_MSG_DONE
    eventually(lambda: pod.children() == [], "the end of everybody")


def test_shutdown_while_commands_run(pod: Pod) -> None:
    hanging(pod)
    for _ in range(3):
        send(pod, command("hang"))
    eventually(lambda: len(inside(pod)) == 4, "they run")


def test_a_full_table(plain_pod: Pod) -> None:
    pod = plain_pod
    hanging(pod)
    serials = [send(pod, command("hang")) for _ in range(256)]
    assert failure(run(pod, command("exit", "0"))) == (abi.NS_STEP_REQUEST, 28)
    for serial in serials:
        pod.client.send(abi.NS_REQ_CANCEL, of_serial=serial)
    for serial in serials:
        assert result(pod.client, serial).kind in (abi.NS_MSG_RESULT, abi.NS_MSG_FAILED)
    assert run(pod, command("exit", "0")).kind == abi.NS_MSG_RESULT


def living(started: Message) -> int:
    """How many processes are in the container's process namespace, zombies aside."""
    namespace, count = os.readlink(f"/proc/{started.pid}/ns/pid"), 0
    for name in os.listdir("/proc"):
        try:
            inside = name.isdecimal() and os.readlink(f"/proc/{name}/ns/pid") == namespace
        except OSError:
            continue
        count += inside and not process_gone(int(name))
    return count


def test_without_a_cgroup_daemons_are_found_below_their_command(pod: Pod) -> None:
    """It is the parent of all that it started and that lost its own: so what is killed goes with all of it."""
    started = hanging(pod)
    other = send(pod, command("daemon", "say", "up", "await"))
    eventually(lambda: living(started) == 3, "another command, with its daemon")
    ended = run(pod, command("daemon", "abandon", "daemon", "hang"), timeout_ns=300_000_000)
    assert (ended.flags, ended.wait_status) == (abi.NS_RESULT_TIMED_OUT, signal.SIGKILL)
    eventually(lambda: living(started) == 3, "the end of all of it, and of nothing else")
    pod.client.send(abi.NS_REQ_CANCEL, of_serial=other)
    assert result(pod.client, other).wait_status == signal.SIGKILL
    eventually(lambda: living(started) == 1, "the end of the other one")


def test_without_a_cgroup_what_a_command_leaves_lives(pod: Pod) -> None:
    started = hanging(pod)
    assert run(pod, command("daemon", "exit", "0")).wait_status == 0
    assert living(started) == 2


@pytest.fixture
def cgroup(cgroup_root: str) -> Path:
    """A container's cgroup."""
    path = cgroup2() / cgroup_root / "container"
    path.mkdir(parents=True)
    return path


def test_a_cgroup_for_each(cgroup: Path, pod: Pod) -> None:
    """Below the container's: what is killed goes with all it started, wherever that is by then."""
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    started = hanging(pod, cgroup=directory)
    os.close(directory)
    assert Path(f"/proc/{started.pid}/cgroup").read_text().strip().endswith("/container")
    said = run(pod, command("report"), output_limit=65536).output.decode()
    assert "/container/exec-1\n" in said
    eventually(lambda: not any(cgroup.glob("exec-*")), "the cgroup's end")
    ended = run(pod, command("abandon", "hang"), timeout_ns=100_000_000)
    assert ended.flags & abi.NS_RESULT_TIMED_OUT
    eventually(lambda: not any(cgroup.glob("exec-*")), "the cgroup's end")
    assert (cgroup / "cgroup.procs").read_text().split() == [str(started.pid)]


def test_what_is_left_running_keeps_its_cgroup(cgroup: Path, pod: Pod) -> None:
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    hanging(pod, cgroup=directory)
    os.close(directory)
    assert run(pod, command("abandon", "exit", "0")).wait_status == 0
    (left,) = cgroup.glob("exec-*")
    (orphan,) = (left / "cgroup.procs").read_text().split()
    assert run(pod, command("exit", "0")).wait_status == 0
    eventually(lambda: list(cgroup.glob("exec-*")) == [left], "the end of the other one")
    os.kill(int(orphan), signal.SIGKILL)
    eventually(lambda: (left / "cgroup.procs").read_text() == "", "the orphan's end")
    run(pod, command("exit", "0"))
    eventually(lambda: not any(cgroup.glob("exec-*")), "the cgroup's end")


def test_a_frozen_container(cgroup: Path, pod: Pod) -> None:
    """A command in it does not begin; it times out, and is gone."""
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    hanging(pod, cgroup=directory)
    os.close(directory)
    (cgroup / "cgroup.freeze").write_text("1")
    ended = run(pod, command("say", "x"), timeout_ns=100_000_000)
    assert (ended.kind, ended.flags, ended.output) == (abi.NS_MSG_RESULT, abi.NS_RESULT_TIMED_OUT, b"")
    eventually(lambda: not any(cgroup.glob("exec-*")), "the cgroup's end")
    (cgroup / "cgroup.freeze").write_text("0")
    assert run(pod, command("say", "x")).output == b"x\n"


def test_a_cgroup_that_is_gone(cgroup: Path, pod: Pod) -> None:
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    started = hanging(pod, cgroup=directory)
    os.close(directory)
    (cgroup.parent / "cgroup.procs").write_text(str(started.pid))
    cgroup.rmdir()
    assert failure(run(pod, command("exit", "0"))) == (abi.NS_STEP_PLACE, 2)
