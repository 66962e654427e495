"""The doorway to systemd's user manager: the two calls that give nsrun a scope (org.freedesktop.systemd1(5)).

It listens on a socket of its own, ``systemd/private`` in the runtime directory, which is there without a D-Bus daemon
too. What goes over it is D-Bus, which jeepney writes and reads; signals come unasked on such a connection. Only who
has something to say imports jeepney: most nsruns are in their scope already.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence

__all__ = ["NO_SUCH_UNIT", "ManagerError", "UserManager", "open_manager"]

NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"

_SECONDS = 30.0  # a manager answers in milliseconds, unless its machine has much else to do
_MOST = 1 << 20  # bytes of a message; the specification allows 128 MiB, systemd sends hundreds of bytes
_SYSTEMD = "org.freedesktop.systemd1"
_BODIES = ("s", "o", "uoss")  # those that are read: an error's text, a job, JobRemoved


class ManagerError(Exception):
    """The manager refused, or cannot be understood. ``name``: of the D-Bus error, empty for none."""

    def __init__(self, text: str, name: str = "") -> None:
        super().__init__(text)
        self.name = name


class UserManager:
    """A connection. Blocks, for ``seconds`` an answer at most; every method raises ManagerError and OSError."""

    def __init__(self, line: socket.socket, *, seconds: float = _SECONDS) -> None:
        self._line = line
        self._seconds = seconds
        self._until = 0.0  # when the answer must be there
        self._serial = 0

    def __enter__(self) -> UserManager:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def attach(self, unit: str, subcgroup: str, pids: Sequence[int]) -> None:
        """AttachProcessesToUnit: moves processes into a cgroup below a delegated unit's."""
        self._call("AttachProcessesToUnit", "ssau", unit, subcgroup, list(pids))

    def start_scope(self, unit: str, description: str, pids: Sequence[int]) -> None:
        """StartTransientUnit: a delegated scope with these processes. Returns when they are in it."""
        properties = [("Description", ("s", description)), ("Delegate", ("b", True)), ("PIDs", ("au", list(pids)))]
        job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", properties, [])
        if not job:
            raise ManagerError("it names no job")
        with self._answering():
            fields, body = self._hear()
            while fields.get("member") != "JobRemoved" or body[1:2] != job:
                fields, body = self._hear()
        if body[3] != "done":
            raise ManagerError(f"starting {unit}: {body[3]}")

    def _call(self, member: str, signature: str, *values: object) -> tuple[object, ...]:
        """What is returned."""
        from jeepney import DBusAddress, new_method_call

        self._serial += 1
        whom = DBusAddress("/org/freedesktop/systemd1", bus_name=_SYSTEMD, interface=f"{_SYSTEMD}.Manager")
        call = new_method_call(whom, member, signature, values).serialise(serial=self._serial)
        with self._answering():
            self._in_time().sendall(call)
            fields, body = self._hear()
            while fields.get("reply_serial") != self._serial:
                fields, body = self._hear()
        if name := fields.get("error_name"):
            raise ManagerError(str(body[0]) if body else "no reason given", str(name))
        return body

    def _hear(self) -> tuple[dict[str, object], tuple[object, ...]]:
        """The next message's header fields and body."""
        start = self._receive(16)
        body, fields = struct.unpack("<4xI4xI" if start[:1] == b"l" else ">4xI4xI", start)
        fields += -fields % 8
        if body + fields > _MOST:
            raise ManagerError("its message is too long")
        return _understood(start + self._receive(fields), self._receive(body))

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            if not (part := self._in_time().recv(count - len(data))):
                raise ManagerError("it hung up")
            data += part
        return bytes(data)

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        self._until = time.monotonic() + self._seconds
        try:
            yield
        except TimeoutError as error:
            raise ManagerError("it does not answer") from error

    def _in_time(self) -> socket.socket:
        """The line, for one wait that ends in time."""
        if (left := self._until - time.monotonic()) <= 0:
            raise TimeoutError
        self._line.settimeout(left)
        return self._line


def _understood(head: bytes, body: bytes) -> tuple[dict[str, object], tuple[object, ...]]:
    """Bodies that nobody reads are left out: a variant in them may name an array of empty structs, which D-Bus does not
    have, and jeepney finds no end of. In a header nothing else looks like one."""
    from jeepney import Header, HeaderFields, Message

    try:
        if b"()" in head:
            raise ValueError("an empty struct")
        fields = Header.from_buffer(head)[0].fields
        read = fields.get(HeaderFields.signature) in _BODIES
        values = Message.from_buffer(head + body).body if read else ()
    except Exception as error:  # a KeyError, an AssertionError, a struct.error: whatever it stumbles over
        raise ManagerError("its message cannot be understood") from error
    return {field.name: value for field, value in fields.items()}, values


def open_manager(runtime: str, *, seconds: float = _SECONDS) -> UserManager | None:
    """``runtime``: the user's runtime directory. None when no manager listens there. Raises ManagerError, OSError."""
    from jeepney.auth import AuthenticationError
    from jeepney.io.blocking import prep_socket

    try:
        return UserManager(prep_socket(f"{runtime}/systemd/private", timeout=seconds), seconds=seconds)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except AuthenticationError as error:
        raise ManagerError("it does not take this user") from error
    except ConnectionError as error:
        raise ManagerError("it does not authenticate anybody") from error
    except (TimeoutError, BlockingIOError) as error:  # the latter: nobody accepts, or the time is over
        raise ManagerError("it does not answer") from error
