"""Who is attached to a container, and terminals of commands, at the level of requests."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
from collections.abc import Sequence

import pytest

from nsrun.support import native
from nsrun.support.native import Message, abi
from tests.native.plans import Plan, sealed
from tests.native.pods import Client, Pod, eventually
from tests.native.test_exec import ALL, command, failure, hanging, inside, result, send

pytestmark = pytest.mark.root

OUT, ERR, IN = abi.NS_STREAM_OUT, abi.NS_STREAM_ERR, abi.NS_STREAM_IN


def attach(pod: Pod, streams: int, *, client: Client | None = None, id: str = "c.0") -> tuple[int, Message, list[int]]:
    """The serial, the answer, and the descriptors that came with it."""
    who = client or pod.client
    serial = who.send(abi.NS_REQ_ATTACH, id=id, flags=streams)
    return serial, *started(who, serial)


def started(client: Client, serial: int) -> tuple[Message, list[int]]:
    """The first word about a request."""
    while True:
        data, fds, _, _ = socket.recv_fds(client.socket, native.MESSAGE_SIZE + abi.NS_OUTPUT_MAX, 4)
        message = native.unpack_message(data)
        if message.serial == serial:
            return message, fds
        client.unasked.append(message)


def launch(pod: Pod, *words: str, flags: int = 0, id: str = "c.0") -> Message:
    """With a log, and input as the flags say."""
    plan = pod.finished(pod.plan(id), *words)
    memory, logs = sealed(plan.encode()), os.open(pod.base / "logs", os.O_RDONLY)
    try:
        message = pod.client.ask(abi.NS_REQ_LAUNCH, fds=[memory, logs, *plan.fds], id=id, log=f"{id}.log", flags=flags)
    finally:
        os.close(memory)
        os.close(logs)
    assert message.kind == abi.NS_MSG_DONE, message
    return message


def read_line(fd: int) -> bytes:
    eventually(lambda: bool(select.select([fd], [], [], 0)[0]), "something to read")
    return os.read(fd, 65536)


def close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def test_copies_from_now_on(pod: Pod) -> None:
    """Each has its own; the log has all of it, and the end comes with the exit code."""
    launch(pod, "say", "early", "await", "say", "out", "complain", "err", "await", "exit", "7")
    eventually(lambda: b"early" in pod.log_path("c.0").read_bytes(), "the first line")
    serial, message, fds = attach(pod, OUT | ERR)
    other = pod.connect()
    of_others, _, of_other = attach(pod, ERR, client=other)
    assert (message.kind, message.flags, len(fds), len(of_other)) == (abi.NS_MSG_STARTED, OUT | ERR, 2, 1)
    pod.proceed("c.0")
    assert (read_line(fds[0]), read_line(fds[1]), read_line(of_other[0])) == (b"out\n", b"err\n", b"err\n")
    pod.proceed("c.0")
    assert os.waitstatus_to_exitcode(result(pod.client, serial).wait_status) == 7
    assert result(other, of_others).wait_status == 7 << 8
    assert [os.read(fd, 100) for fd in (*fds, *of_other)] == [b"", b"", b""]
    assert [record.content for record in pod.log("c.0") if record.stream == "stdout"] == [b"early", b"out"]
    close([*fds, *of_other])


def test_a_line_that_was_begun_is_seen_from_its_start(pod: Pod) -> None:
    """Such as a prompt, which is in no log; what is in the log is not said again."""
    launch(pod, "say", "early", "put", "3", "complain", "there", "await", "say", "end", "exit", "0")
    eventually(lambda: b"there" in pod.log_path("c.0").read_bytes(), "all that was written")
    for _ in range(2):
        client = pod.connect()
        _, _, fds = attach(pod, OUT | ERR, client=client)
        assert len(read_line(fds[0])) == 3
        assert select.select(fds, [], [], 0)[0] == []
        close(fds)
    _, _, fds = attach(pod, OUT)
    pod.proceed("c.0")
    pod.client.exit_of("c.0")
    assert read_line(fds[0])[3:] == b"end\n"
    close(fds)


def test_who_does_not_read_is_cut_off(pod: Pod) -> None:
    """Neither the container nor its log waits, nor does who reads."""
    launch(pod, "await", "put", "4000000", "say", "", "exit", "3")
    stuck, message, fds = attach(pod, OUT)
    assert message.kind == abi.NS_MSG_STARTED
    pod.proceed("c.0")
    assert failure(result(pod.client, stuck)) == (abi.NS_STEP_ATTACH, errno.ENOBUFS)
    assert pod.client.exit_of("c.0").wait_status == 3 << 8
    assert sum(len(record.content) for record in pod.log("c.0")) == 4_000_000
    seen = 0
    while data := os.read(fds[0], 1 << 20):
        seen += len(data)
    assert 65536 <= seen <= abi.NS_ATTACH_BUFFER, "what there was room for"
    close(fds)


def test_who_closes_a_stream_keeps_the_other(pod: Pod) -> None:
    launch(pod, "await", "say", "out", "complain", "err", "await", "say", "out", "complain", "again", "exit", "0")
    serial, _, fds = attach(pod, OUT | ERR)
    os.close(fds[0])
    for line in (b"err\n", b"again\n"):
        pod.proceed("c.0")
        assert read_line(fds[1]) == line
    assert result(pod.client, serial).wait_status == 0
    close(fds[1:])


def test_input_stays_open(pod: Pod) -> None:
    launch(pod, "copy", flags=abi.NS_LAUNCH_STDIN)
    for word in (b"one\n", b"two\n"):
        serial, message, fds = attach(pod, IN | OUT)
        assert message.flags == IN | OUT
        assert not os.get_blocking(fds[0])
        os.write(fds[0], word)
        assert read_line(fds[1]) == word
        close(fds)
        assert pod.client.ask(abi.NS_REQ_CANCEL, of_serial=serial).kind == abi.NS_MSG_DONE
    pod.client.ask(abi.NS_REQ_SIGNAL, id="c.0", value=9)
    pod.client.exit_of("c.0")


def test_input_that_is_given_away_once(pod: Pod) -> None:
    launch(pod, "copy", "exit", "4", flags=abi.NS_LAUNCH_STDIN | abi.NS_LAUNCH_STDIN_ONCE)
    watching, message, seen = attach(pod, OUT)
    assert message.flags == OUT
    client = pod.connect()
    _, message, fds = attach(pod, IN, client=client)
    assert message.flags == IN
    _, message, none = attach(pod, IN, client=client)
    assert (message.kind, message.flags, none) == (abi.NS_MSG_STARTED, 0, [])
    os.write(fds[0], b"one\n")
    assert read_line(seen[0]) == b"one\n"
    client.close()
    pod.clients.remove(client)
    close(fds)
    assert result(pod.client, watching).wait_status == 4 << 8
    close(seen)


@pytest.mark.parametrize("streams", [0, abi.NS_STREAM_TERMINAL, 16, OUT | 32])
def test_requests_that_make_no_sense(pod: Pod, streams: int) -> None:
    hanging(pod)
    assert failure(attach(pod, streams)[1]) == (abi.NS_STEP_REQUEST, errno.EINVAL)


def test_what_cannot_be_attached_to(pod: Pod) -> None:
    assert failure(attach(pod, OUT)[1]) == (abi.NS_STEP_REQUEST, errno.ESRCH)
    pod.sandbox()
    assert failure(attach(pod, OUT, id="sandbox")[1]) == (abi.NS_STEP_REQUEST, errno.ESRCH)
    launch(pod, "exit", "0")
    pod.client.exit_of("c.0")
    assert failure(attach(pod, OUT)[1]) == (abi.NS_STEP_REQUEST, errno.ESRCH)
    refused = pod.launch("d.0", pod.finished(pod.plan("d.0"), "exit", "0"), flags=abi.NS_LAUNCH_STDIN_ONCE)
    assert failure(refused) == (abi.NS_STEP_REQUEST, errno.EINVAL)


def test_as_many_as_there_are_places(plain_pod: Pod) -> None:
    """CVE-2025-64329: however many come and go, nothing is left of them."""
    pod = plain_pod
    launch(pod, "await", "say", "x", "hang")
    before = pod.shim_fds()
    for _ in range(20):
        client = pod.connect()
        for _ in range(abi.NS_MAX_ATTACHED):
            close(attach(pod, OUT | ERR, client=client)[2])
        assert failure(attach(pod, OUT, client=client)[1]) == (abi.NS_STEP_REQUEST, errno.ENOSPC)
        client.close()
        pod.clients.remove(client)
        eventually(lambda: pod.shim_fds() == before, "the end of what was open for it")
    _, _, fds = attach(pod, OUT)
    pod.proceed("c.0")
    assert read_line(fds[0]) == b"x\n"
    close(fds)


# --- commands


def in_terminal(*words: str, rows: int = 0, columns: int = 0) -> Plan:
    """Joins, gets a terminal, and runs the reporter."""
    plan = Plan(new_namespaces=0)
    plan.add(abi.NS_OP_ENTER, a=ALL)
    plan.add(abi.NS_OP_TERMINAL, a=0, b=rows << 16 | columns)
    plan.add(abi.NS_OP_BIRTH)
    plan.add(abi.NS_OP_SETSID, a=1)
    plan.run(*words)
    return plan


def with_terminals(pod: Pod, *, pts: bool = True) -> None:
    """A container that has /dev/pts, or something else there."""
    (pod.image / "dev/pts").mkdir(parents=True, exist_ok=True)
    plan = pod.plan("c.0")
    if pts:
        plan.fs("devpts", "/dev/pts", "newinstance", "ptmxmode=0666", "mode=0620")
    else:
        os.mkfifo(pod.image / "dev/pts/ptmx")
    assert pod.launch("c.0", pod.finished(plan, "hang")).kind == abi.NS_MSG_DONE


def hung_up(master: int) -> bool:
    """Whether nobody has the other end any more: the shim lets go of it when it has told the command's end."""
    try:
        while os.read(master, 65536):
            pass
    except BlockingIOError:
        return False
    except OSError as error:
        return error.errno == errno.EIO
    return False


def test_a_terminal(pod: Pod) -> None:
    with_terminals(pod)
    serial = send(pod, in_terminal("report", "await", "exit", "6", rows=33, columns=99), flags=abi.NS_EXEC_TERMINAL)
    message, (master,) = started(pod.client, serial)
    assert (message.kind, message.flags) == (abi.NS_MSG_STARTED, abi.NS_STREAM_TERMINAL)
    assert os.get_terminal_size(master) == (99, 33)
    said = b""
    while not any(line.startswith(b"tty ") for line in said.splitlines()):
        said += read_line(master)
    lines = said.decode().split("\r\n")
    assert {line for line in lines if line.startswith("fd ")} == {f"fd {n} /dev/pts/0" for n in range(3)}
    own = next(line for line in lines if line.startswith("pid "))
    assert f"sid {own.removeprefix('pid ')}" in lines
    assert pod.client.ask(abi.NS_REQ_SIGNAL, of_serial=serial, value=signal.SIGUSR1).kind == abi.NS_MSG_DONE
    ended = result(pod.client, serial)
    assert (ended.wait_status, ended.pid) == (6 << 8, message.pid)
    eventually(lambda: hung_up(master), "the end of the terminal")
    os.close(master)


def test_no_terminal_where_there_is_something_else(pod: Pod) -> None:
    """CVE-2025-52565: and it is not even opened."""
    with_terminals(pod, pts=False)
    serial = send(pod, in_terminal("hang"), flags=abi.NS_EXEC_TERMINAL)
    assert failure(result(pod.client, serial)) == (abi.NS_OP_TERMINAL, errno.ENOTTY)


def test_a_terminal_that_nobody_waits_for(pod: Pod) -> None:
    """The client goes before it gets it: the command goes, too, and nothing is left open."""
    with_terminals(pod)
    before = pod.shim_fds()
    for _ in range(10):
        client = pod.connect()
        send(pod, in_terminal("hang"), flags=abi.NS_EXEC_TERMINAL, client=client)
        client.close()
        pod.clients.remove(client)
    eventually(lambda: pod.shim_fds() == before and len(pod.children()) == 1, "the end of all")


def test_a_start_is_told_before_an_end(pod: Pod) -> None:
    hanging(pod)
    null = os.open(os.devnull, os.O_RDWR)
    for _ in range(30):
        serial = send(pod, command("exit", "5"), null, null, null, flags=abi.NS_EXEC_STDIO)
        message, fds = started(pod.client, serial)
        assert (message.kind, fds) == (abi.NS_MSG_STARTED, [])
        assert result(pod.client, serial).wait_status == 5 << 8
    plan = Plan(new_namespaces=0)
    plan.add(abi.NS_OP_ENTER, a=ALL)
    plan.add(abi.NS_OP_BIRTH)
    plan.run("x", program="/no/such")
    serial = send(pod, plan, null, null, null, flags=abi.NS_EXEC_STDIO)
    assert failure(started(pod.client, serial)[0]) == (abi.NS_OP_EXEC, errno.ENOENT), "what did not start only fails"
    os.close(null)


def test_signalled_by_its_own_client_only(pod: Pod) -> None:
    hanging(pod)
    null = os.open(os.devnull, os.O_RDWR)
    serial = send(pod, command("hang"), null, null, null, flags=abi.NS_EXEC_STDIO)
    started(pod.client, serial)
    other = pod.connect()
    refused = other.ask(abi.NS_REQ_SIGNAL, of_serial=serial, value=signal.SIGKILL)
    assert failure(refused) == (abi.NS_STEP_SIGNAL, errno.ESRCH)
    assert len(inside(pod)) == 2
    assert pod.client.ask(abi.NS_REQ_SIGNAL, of_serial=serial, value=signal.SIGTERM).kind == abi.NS_MSG_DONE
    assert result(pod.client, serial).wait_status == signal.SIGTERM
    refused = pod.client.ask(abi.NS_REQ_SIGNAL, of_serial=serial, value=signal.SIGTERM)
    assert failure(refused) == (abi.NS_STEP_SIGNAL, errno.ESRCH)
    os.close(null)
