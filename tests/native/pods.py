"""A pod on a tmpfs with a real shim, and the supervisor's end of its socket."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nsrun.support import native
from nsrun.support.crilog import LogRecord, parse_line
from nsrun.support.native import Message, abi
from tests.native.plans import OWN_NAMESPACES, Plan, sealed
from tests.waiting import PATIENCE

DEADLINE = 20.0 * PATIENCE


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Polls a real condition."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"
        select.select([], [], [], 0.01)


def process_gone(pid: int) -> bool:
    """No such process, or a zombie (this test's PID 1 reaps nothing by itself)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def blocks(pid: int, number: int) -> bool:
    """Whether a process blocks a signal (proc(5), SigBlk)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def cgroup2() -> Path:
    """Where the cgroup v2 hierarchy is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    pytest.skip("no cgroup v2 hierarchy here")


class Client:
    """One connection to a shim."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))
        self.serial = 0
        self.unasked: list[Message] = []

    def send(self, kind: int, *, fds: Sequence[int] = (), **fields: int | str) -> int:
        self.serial += 1
        data = native.pack_request(kind, self.serial, **fields)  # type: ignore[arg-type]
        socket.send_fds(self.socket, [data], list(fds))
        return self.serial

    def receive(self) -> Message:
        data = self.socket.recv(4096)
        assert data, "the shim closed the connection"
        return native.unpack_message(data)

    def answer(self, serial: int) -> Message:
        """The answer to a request; messages of another kind are kept in ``unasked``."""
        while True:
            for message in self.unasked:
                if message.serial == serial and message.kind in (abi.NS_MSG_DONE, abi.NS_MSG_FAILED):
                    self.unasked.remove(message)
                    return message
            self.unasked.append(self.receive())

    def ask(self, kind: int, *, fds: Sequence[int] = (), **fields: int | str) -> Message:
        return self.answer(self.send(kind, fds=fds, **fields))

    def exit_of(self, id: str) -> Message:
        """The NS_MSG_EXIT of a process."""
        while True:
            for message in self.unasked:
                if message.kind == abi.NS_MSG_EXIT and message.id == id:
                    self.unasked.remove(message)
                    return message
            self.unasked.append(self.receive())

    def entries(self) -> list[Message]:
        serial = self.send(abi.NS_REQ_LIST)
        self.answer(serial)
        found = [message for message in self.unasked if message.kind == abi.NS_MSG_ENTRY and message.serial == serial]
        self.unasked = [message for message in self.unasked if message.kind != abi.NS_MSG_ENTRY]
        return found

    def close(self) -> None:
        self.socket.close()


@dataclass
class Pod:
    """Directories, a shim and a subscribed client."""

    base: Path
    program: Path
    reporter: Path
    pause: Path
    shim_pid: int = 0
    ended: bool = False
    clients: list[Client] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("run", "stage", "empty", "image/bin", "logs"):
            (self.base / name).mkdir(parents=True)
        shutil.copy(self.reporter, self.base / "image/bin/reporter")
        self.spawn()
        self.client = self.connect()
        assert self.client.ask(abi.NS_REQ_SUBSCRIBE).kind == abi.NS_MSG_DONE

    @property
    def run_dir(self) -> Path:
        return self.base / "run"

    @property
    def image(self) -> Path:
        return self.base / "image"

    def spawn(self) -> None:
        run_fd = os.open(self.run_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.shim_pid = native.spawn_shim(str(self.program), run_fd, "a-pod")
        finally:
            os.close(run_fd)

    def connect(self) -> Client:
        client = Client(self.run_dir / "shim.sock")
        self.clients.append(client)
        return client

    # --- plans

    def plan(self, id: str, *, new_namespaces: int = OWN_NAMESPACES, proc: bool = True) -> Plan:
        """A plan up to its rootfs with /proc; the rest is the test's."""
        plan = Plan(new_namespaces=new_namespaces)
        upper, work = self.base / "upper" / id, self.base / "work" / id
        upper.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        plan.root(str(self.base / "stage"), [str(self.image)], str(upper), str(work))
        if proc:
            plan.fs("proc", "/proc", real=1)
        return plan

    def finished(self, plan: Plan, *arguments: str, environment: Sequence[str] = (), cwd: str = "/") -> Plan:
        """Pivot, working directory, and the reporter."""
        plan.add(abi.NS_OP_PIVOT)
        plan.add(abi.NS_OP_CWD, cwd)
        plan.run(*arguments, environment=environment)
        return plan

    # --- launching

    def launch(
        self,
        id: str,
        plan: Plan,
        *,
        client: Client | None = None,
        flags: int = 0,
        raw: bytes | None = None,
        **more: int,
    ) -> Message:
        serial = self.send_launch(id, plan, client=client, flags=flags, raw=raw, **more)
        return (client or self.client).answer(serial)

    def send_launch(
        self,
        id: str,
        plan: Plan,
        *,
        client: Client | None = None,
        flags: int = 0,
        raw: bytes | None = None,
        **more: int,
    ) -> int:
        memory = sealed(plan.encode() if raw is None else raw)
        logs = os.open(self.base / "logs", os.O_RDONLY | os.O_DIRECTORY)
        try:
            first = [memory] if flags else [memory, logs]
            who = client or self.client
            return who.send(abi.NS_REQ_LAUNCH, fds=[*first, *plan.fds], id=id, log=f"{id}.log", flags=flags, **more)
        finally:
            os.close(memory)
            os.close(logs)

    def run(self, id: str, plan: Plan) -> list[str]:
        """Launches, waits for the end, and returns what it said on stdout."""
        started = self.launch(id, plan)
        assert started.kind == abi.NS_MSG_DONE, started
        self.client.exit_of(id)
        return [record.content.decode() for record in self.log(id) if record.stream == "stdout"]

    def proceed(self, id: str) -> None:
        """Lets a reporter go on from its ``await``. Before it has blocked the signal, PID 1 of a namespace loses it."""
        pid = next(entry.pid for entry in self.client.entries() if entry.id == id)
        eventually(lambda: blocks(pid, signal.SIGUSR2), "a reporter that can hear")
        assert self.client.ask(abi.NS_REQ_SIGNAL, id=id, value=signal.SIGUSR1).kind == abi.NS_MSG_DONE

    def sandbox(self) -> Message:
        """A pause process with its own uts, ipc and process namespaces, under the id "sandbox"."""
        plan = Plan(new_namespaces=OWN_NAMESPACES)
        pause = os.open(self.pause, os.O_RDONLY | os.O_CLOEXEC)
        plan.add(abi.NS_OP_PRIVATE)
        plan.add(abi.NS_OP_HOSTNAME, "a-pod")
        plan.add(abi.NS_OP_EMPTY_ROOT, str(self.base / "stage"), b"dev/shm\0")
        plan.fs("tmpfs", "/dev/shm", "mode=1777")
        plan.add(abi.NS_OP_PIVOT)
        plan.add(abi.NS_OP_EXEC_FD, "", b"pause\0", b"", fd=plan.fd(pause))
        try:
            return self.launch("sandbox", plan, flags=abi.NS_LAUNCH_SANDBOX)
        finally:
            os.close(pause)

    # --- looking

    def log_path(self, id: str) -> Path:
        return self.base / "logs" / f"{id}.log"

    def log(self, id: str) -> list[LogRecord]:
        lines = self.log_path(id).read_bytes().split(b"\n")
        assert lines.pop() == b"", "the log ends in the middle of a record"
        return [parse_line(line) for line in lines]

    def record(self, id: str) -> dict[str, int]:
        text = (self.run_dir / "exits" / id).read_text()
        assert re.fullmatch(r"(?:[a-z_]+ -?[0-9]+\n){5}", text)
        return {name: int(value) for name, value in (line.split() for line in text.splitlines())}

    def shim_fds(self) -> list[str]:
        return sorted(os.listdir(f"/proc/{self.shim_pid}/fd"), key=int)

    def children(self) -> list[int]:
        """Of the shim, zombies included."""
        return [int(pid) for pid in Path(f"/proc/{self.shim_pid}/task/{self.shim_pid}/children").read_text().split()]

    # --- ending

    def kill_shim(self) -> None:
        os.kill(self.shim_pid, signal.SIGKILL)
        self.reap()
        self.ended = True

    def reap(self) -> None:
        """The shim is an orphan; when this process is PID 1 of its namespace, it has to be reaped here."""
        eventually(lambda: process_gone(self.shim_pid), "the end of the shim")
        try:
            os.waitpid(self.shim_pid, 0)
        except ChildProcessError:
            pass

    def close(self) -> None:
        """Shuts the shim down and checks what it leaves."""
        if not self.ended:
            client = self.connect()
            serial = client.send(abi.NS_REQ_SHUTDOWN)
            assert client.answer(serial).kind == abi.NS_MSG_DONE
            self.reap()
            assert not (self.run_dir / "shim.sock").exists()
        for client in self.clients:
            client.close()
        for report in self.run_dir.glob("sanitizer.*"):
            raise AssertionError(report.read_text())
