"""nsrun-forward, one per user: what comes in at ports of the host goes to pods in the user's network namespace.

It is a process of its own that goes on when nsrun is killed; the next nsrun finds it by its socket. It lives in the
pods' network namespace. The sockets that listen are made here, in the host's, and handed over: so it is nsrun that the
kernel answers when a port cannot be had, and the process that strangers talk to has no way to the host's network.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

from nsrun.errors import NetworkError, describe_errno
from nsrun.model.container import Protocol
from nsrun.support import forward
from nsrun.support.fds import Fd
from nsrun.support.forward import Answer, Forward, abi

__all__ = ["PROGRAM", "ForwardedPort", "Forwarder", "Limits"]

PROGRAM: Final = Path(__file__).resolve().parent.parent / "_bin" / "nsrun-forward"

_SOCKET = "forward.sock"
_TITLE = "host ports"
_PATIENCE = 10.0  # seconds; an answer takes less than a millisecond
_BACKLOG = 4096  # the kernel takes it down to net.core.somaxconn
_UDP_BUFFER = 1 << 20  # bytes; the kernel takes it down to net.core.rmem_max
_EVERYWHERE = IPv4Address(0)
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_NUMBERS = {Protocol.TCP: abi.NS_FORWARD_TCP, Protocol.UDP: abi.NS_FORWARD_UDP}
_PROTOCOLS = {number: protocol for protocol, number in _NUMBERS.items()}
_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedPort:
    """A port of the host that leads to one of a pod. ``host_ip`` None: every address of the host."""

    protocol: Protocol
    host_ip: IPv4Address | None
    host_port: int
    pod_ip: IPv4Address
    pod_port: int

    def __str__(self) -> str:
        where = f"{self.host_ip}:" if self.host_ip is not None else ""
        return f"{where}{self.host_port}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds: until a pod has answered a connection, and for which a UDP flow is remembered that was never answered,
    or was. The latter as the kernel's connection tracking has them (nf_conntrack-sysctl.rst)."""

    connect: float = 20
    unanswered: float = 30
    answered: float = 120


class _Lost(NetworkError):
    """It died, or is of no use any more, and was ended: another may be started."""


class Forwarder:
    """The process, as nsrun sees it. Methods block; they may be called from several threads at once, all of them in
    the host's network namespace."""

    def __init__(
        self,
        *,
        directory: Path,
        netns: Fd,
        holder: Fd,
        pods: IPv4Network,
        transparent: bool,
        limits: Limits | None = None,
        program: Path = PROGRAM,
    ) -> None:
        """``directory``: where its socket is; it has to be there, and be nobody else's. ``netns``: the pods' network
        namespace; ``holder``: a pidfd of the process with which it ends; both stay the caller's. ``transparent``:
        answers of pods to any address come back (``SourceRouting``), so clients' addresses may be kept."""
        self._directory = directory
        self._netns = netns
        self._holder = holder
        self._pods = pods
        self._transparent = transparent
        self._limits = limits if limits is not None else Limits()
        self._program = program
        self._lock = threading.Lock()
        self._line: _Line | None = None

    def start(self) -> tuple[str, ...]:
        """Finds the one that runs, or starts one. Returns what this machine withholds, one sentence each.

        Raises NetworkError.
        """
        with self._lock:
            return self._start()

    def set(self, ports: Iterable[ForwardedPort]) -> tuple[str, ...]:
        """Makes these the ports that are forwarded, and no others. Those that stay keep their connections, those of
        others end. One that died is started again. Returns which ports cannot be had and why, one sentence each.

        Raises NetworkError.
        """
        wanted = {_forward_of(port): port for port in ports}
        with self._lock:
            try:
                return self._set(wanted)
            except _Lost:
                return self._set(wanted)

    def ports(self) -> tuple[ForwardedPort, ...]:
        """What is forwarded now; nothing when it does not run. Raises NetworkError."""
        with self._lock:
            if self._line is None and not self._adopt():
                return ()
            found = self._ask(forward.pack_request(abi.NS_FORWARD_LIST)).ports
        return tuple(sorted((_port_of(item) for item in found), key=lambda port: (port.host_port, str(port))))

    def stop(self) -> None:
        """Ends it, and with it all its connections. It need not run. Raises NetworkError."""
        with self._lock:
            if self._line is None and not self._adopt():
                return
            with suppress(_Lost):
                self._ask(forward.pack_request(abi.NS_FORWARD_STOP))
            if self._line is not None:
                self._line.end()
                self._line = None

    @property
    def is_alive(self) -> bool:
        """Whether the one that was started or found runs."""
        line = self._line
        return line is not None and line.is_alive

    def fileno(self) -> int:
        """A descriptor that becomes readable when it has ended: until then it is the same. Raises NetworkError when
        none was started."""
        line = self._line
        if line is None:
            raise NetworkError("cannot watch the forwarder of host ports: it was not started")
        return line.process.fileno()

    def close(self) -> None:
        """Lets go of it: it runs on."""
        with self._lock:
            self._hang_up()

    def _set(self, wanted: Mapping[Forward, ForwardedPort]) -> tuple[str, ...]:
        self._start()
        present = self._ask(forward.pack_request(abi.NS_FORWARD_LIST)).ports
        for gone in present - wanted.keys():
            self._ask(forward.pack_request(abi.NS_FORWARD_REMOVE, gone))
        added = [self._add(key, port) for key, port in wanted.items() if key not in present]
        return tuple(complaint for complaint in added if complaint)

    def _start(self) -> tuple[str, ...]:
        if not self.is_alive:
            self._hang_up()
            if not self._adopt():
                self._spawn()
        status = self._ask(forward.pack_request(abi.NS_FORWARD_LIST))
        if not status.flags & abi.NS_FORWARD_CONFIGURED:
            status = self._configure()
        if status.flags & abi.NS_FORWARD_TRANSPARENT:
            return ()
        return ("pods see the address of their bridge instead of those of clients that come through a host port",)

    def _adopt(self) -> bool:
        """Whether there is one already."""
        try:
            self._line = _Line.open(self._directory)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise _failure("cannot reach the forwarder of host ports", error) from error
        return True

    def _spawn(self) -> None:
        subject = "cannot start the forwarder of host ports"
        try:
            with Fd.open(self._directory, os.O_RDONLY | os.O_DIRECTORY) as directory:
                forward.spawn(str(self._program), directory.fileno(), _TITLE)
            self._line = _Line.open(self._directory)
        except OSError as error:
            raise _failure(subject, error) from error

    def _configure(self) -> Answer:
        request = forward.pack_configuration(
            self._pods,
            transparent=self._transparent,
            connect=self._limits.connect,
            unanswered=self._limits.unanswered,
            answered=self._limits.answered,
        )
        answer = self._ask(request, self._netns.fileno(), self._holder.fileno())
        if answer.error:
            raise NetworkError(f"cannot set up the forwarder of host ports: {describe_errno(answer.error)}")
        return answer

    def _add(self, key: Forward, port: ForwardedPort) -> str:
        """What is wrong with the port, or ""."""
        try:
            with _listener(key) as listening:
                answer = self._ask(forward.pack_request(abi.NS_FORWARD_ADD, key), listening.fileno())
        except OSError as error:
            return _complaint(port, error.errno or 0)
        return _complaint(port, answer.error) if answer.error else ""

    def _ask(self, request: bytes, *fds: int) -> Answer:
        assert self._line is not None
        try:
            return self._line.ask(request, *fds)
        except (OSError, ValueError) as error:
            self._line.end()
            self._line = None
            cause = describe_errno(error.errno or 0) if isinstance(error, OSError) else str(error)
            raise _Lost(f"cannot ask the forwarder of host ports: {cause}") from error

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None


class _Line:
    """A connection to one that runs, and its pidfd."""

    def __init__(self, connection: socket.socket, process: Fd) -> None:
        self._connection = connection
        self.process = process

    @classmethod
    def open(cls, directory: Path) -> _Line:
        """Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_PATIENCE)
            with Fd.open(directory, os.O_PATH | os.O_DIRECTORY) as place:
                connection.connect(f"/proc/self/fd/{place.fileno()}/{_SOCKET}")  # a path may be longer than sun_path
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            # Who made the socket, and answers on it: it will be asked before the pidfd is of any use.
            return cls(connection, Fd(os.pidfd_open(_CREDENTIALS.unpack(raw)[0])))
        except ProcessLookupError:
            connection.close()
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)) from None
        except BaseException:
            connection.close()
            raise

    def ask(self, request: bytes, *fds: int) -> Answer:
        """Raises OSError, ValueError."""
        socket.send_fds(self._connection, [request], fds)
        answer = self._connection.recv(forward.ANSWER_SIZE)
        if not answer:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return forward.read_answer(answer)

    @property
    def is_alive(self) -> bool:
        return not self._ended(0)

    def end(self) -> None:
        """Waits for its end; kills it when that does not come."""
        self._connection.close()
        if not self._ended(_PATIENCE):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process.fileno(), signal.SIGKILL)
            self._ended(_PATIENCE)
        self.process.close()

    def close(self) -> None:
        self._connection.close()
        self.process.close()

    def _ended(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.process.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))


def _listener(key: Forward) -> socket.socket:
    """A socket of the host's network that has the port. Raises OSError."""
    stream = key.protocol == abi.NS_FORWARD_TCP
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    made = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if stream:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may linger
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER)
        made.bind((str(key.host_address), key.host_port))
        if stream:
            made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _forward_of(port: ForwardedPort) -> Forward:
    return Forward(
        protocol=_NUMBERS[port.protocol],
        host_address=port.host_ip if port.host_ip is not None else _EVERYWHERE,
        host_port=port.host_port,
        pod_address=port.pod_ip,
        pod_port=port.pod_port,
    )


def _port_of(key: Forward) -> ForwardedPort:
    return ForwardedPort(
        protocol=_PROTOCOLS[key.protocol],
        host_ip=key.host_address if key.host_address != _EVERYWHERE else None,
        host_port=key.host_port,
        pod_ip=key.pod_address,
        pod_port=key.pod_port,
    )


def _complaint(port: ForwardedPort, number: int) -> str:
    return f"cannot listen on port {port}: {_cause(port, number)}"


def _cause(port: ForwardedPort, number: int) -> str:
    if number == errno.EACCES:
        first = _UNPRIVILEGED.read_text().strip()
        remedy = f"sysctl net.ipv4.ip_unprivileged_port_start={port.host_port}"
        return f"ports below {first} are for root only (to let everybody have it: {remedy})"
    if number == errno.EADDRINUSE:
        return "another program listens there"
    if number == errno.EADDRNOTAVAIL:
        return f"this machine has no address {port.host_ip}"
    if number == errno.ENOSPC:
        return f"no more than {abi.NS_FORWARD_PORTS_MAX} host ports can be forwarded"
    return describe_errno(number)


def _failure(subject: str, error: OSError) -> NetworkError:
    hint = "run dev setup, which builds it" if error.errno == errno.ENOENT else None
    return NetworkError(f"{subject}: {describe_errno(error.errno or 0)}", hint=hint)
