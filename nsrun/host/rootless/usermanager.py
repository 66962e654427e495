"""The doorway to systemd's user manager: the two calls that give nsrun a scope (org.freedesktop.systemd1(5)).

It listens on a socket of its own, ``systemd/private`` in the runtime directory, which is there without a D-Bus daemon
too. What goes over it is D-Bus (the D-Bus Specification): an authentication in text lines, then messages in the
caller's byte order, every value aligned to its size. Signals come unasked on such a connection.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["NO_SUCH_UNIT", "ManagerError", "Message", "Reader", "UserManager", "Writer", "method_call", "open_manager"]

NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"

_SECONDS = 30.0  # a manager answers in milliseconds, unless its machine has much else to do
_MOST = 1 << 20  # bytes of a message; the specification allows 128 MiB, systemd sends hundreds of bytes
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_SYSTEMD = "org.freedesktop.systemd1"


class ManagerError(Exception):
    """The manager refused, or cannot be understood. ``name``: of the D-Bus error, empty for none."""

    def __init__(self, text: str, name: str = "") -> None:
        super().__init__(text)
        self.name = name


class Writer:
    """Marshals values, each at its alignment."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        self.data += bytes(-len(self.data) % size)

    def byte(self, value: int) -> None:
        self.data.append(value)

    def number(self, value: int) -> None:
        """``u``, and ``b``."""
        self.align(4)
        self.data += struct.pack("<I", value)

    def text(self, value: str) -> None:
        """``s`` and ``o``."""
        encoded = value.encode()
        self.number(len(encoded))
        self.data += encoded + b"\0"

    def signature(self, value: str) -> None:
        """``g``."""
        self.data += bytes((len(value),)) + value.encode() + b"\0"

    @contextlib.contextmanager
    def array(self, alignment: int) -> Iterator[None]:
        """What is written inside is an array; ``alignment``: of its elements."""
        self.number(0)
        place = len(self.data) - 4
        self.align(alignment)
        start = len(self.data)
        yield
        struct.pack_into("<I", self.data, place, len(self.data) - start)


class Reader:
    """Takes marshalled values apart. Raises ManagerError for what ends too early."""

    def __init__(self, data: bytes, order: str = "<") -> None:
        self.at = 0
        self._data = data
        self._order = order

    def align(self, size: int) -> None:
        self.at += -self.at % size

    def number(self) -> int:
        self.align(4)
        return int(struct.unpack(f"{self._order}I", self._take(4))[0])

    def byte(self) -> int:
        return self._take(1)[0]

    def text(self) -> str:
        length = self.number()
        return self._take(length + 1)[:-1].decode("utf-8", "replace")

    def signature(self) -> str:
        return self._take(self.byte() + 1)[:-1].decode("ascii", "replace")

    def _take(self, count: int) -> bytes:
        taken = self._data[self.at : self.at + count]
        if len(taken) != count:
            raise ManagerError("its message ends too early")
        self.at += count
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message that came. ``fields``: of its header, by number, those that are texts or numbers."""

    kind: int
    fields: dict[int, str | int]
    body: Reader


def method_call(serial: int, member: str, signature: str, body: bytes) -> bytes:
    """A call of the manager's."""
    head = Writer()
    for number in (ord("l"), _CALL, 0, 1):
        head.byte(number)
    head.number(len(body))
    head.number(serial)
    with head.array(8):
        for field, kind, value in (
            (_PATH, "o", "/org/freedesktop/systemd1"),
            (_INTERFACE, "s", f"{_SYSTEMD}.Manager"),
            (_MEMBER, "s", member),
            (_DESTINATION, "s", _SYSTEMD),
            (_SIGNATURE, "g", signature),
        ):
            head.align(8)
            head.byte(field)
            head.signature(kind)
            head.signature(value) if kind == "g" else head.text(value)
    head.align(8)
    return bytes(head.data) + body


class UserManager:
    """A connection. Blocks; every method raises ManagerError and OSError."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._serial = 0

    def __enter__(self) -> UserManager:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def authenticate(self) -> None:
        """As the user who this process is to the manager."""
        who = str(os.geteuid()).encode().hex()
        self._line.sendall(f"\0AUTH EXTERNAL {who}\r\n".encode())
        answer = bytearray()
        while not answer.endswith(b"\r\n"):
            part = self._line.recv(1)
            if not part or len(answer) > 1024:
                raise ManagerError("it does not authenticate anybody")
            answer += part
        if not answer.startswith(b"OK "):
            raise ManagerError("it does not take this user")
        self._line.sendall(b"BEGIN\r\n")

    def attach(self, unit: str, subcgroup: str, pids: Sequence[int]) -> None:
        """AttachProcessesToUnit: moves processes into a cgroup below a delegated unit's."""
        body = Writer()
        body.text(unit)
        body.text(subcgroup)
        with body.array(4):
            for pid in pids:
                body.number(pid)
        self._call("AttachProcessesToUnit", "ssau", body)

    def start_scope(self, unit: str, description: str, pids: Sequence[int]) -> None:
        """StartTransientUnit: a delegated scope with these processes. Returns when they are in it."""
        body = Writer()
        body.text(unit)
        body.text("fail")
        with body.array(8):
            for name, kind in (("Description", "s"), ("Delegate", "b"), ("PIDs", "au")):
                body.align(8)
                body.text(name)
                body.signature(kind)
                if kind == "s":
                    body.text(description)
                elif kind == "b":
                    body.number(1)
                else:
                    with body.array(4):
                        for pid in pids:
                            body.number(pid)
        with body.array(8):
            pass
        job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", body).body.text()
        while (result := _result_of(self._hear(), job)) is None:
            pass
        if result != "done":
            raise ManagerError(f"starting {unit}: {result}")

    def _call(self, member: str, signature: str, body: Writer) -> Message:
        self._serial += 1
        self._line.sendall(method_call(self._serial, member, signature, bytes(body.data)))
        while True:
            message = self._hear()
            if message.fields.get(_REPLY_SERIAL) != self._serial:
                continue
            if message.kind == _RETURN:
                return message
            if message.kind == _ERROR:
                told = message.body.text() if message.fields.get(_SIGNATURE) == "s" else "no reason given"
                raise ManagerError(told, str(message.fields.get(_ERROR_NAME, "")))

    def _hear(self) -> Message:
        start = self._receive(16)
        order = "<" if start[0] == ord("l") else ">"
        body_size, _serial, fields_size = struct.unpack(f"{order}4xIII", start)
        fields_end = -(-fields_size // 8) * 8
        if body_size + fields_end > _MOST:
            raise ManagerError("its message is too long")
        rest = self._receive(fields_end + body_size)
        fields = Reader(rest[:fields_size], order)
        return Message(kind=start[1], fields=_fields(fields, fields_size), body=Reader(rest[fields_end:], order))

    def _receive(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._line.recv(count - len(data))
            if not part:
                raise ManagerError("it hung up")
            data += part
        return bytes(data)


def _fields(reader: Reader, size: int) -> dict[int, str | int]:
    found: dict[int, str | int] = {}
    while reader.at < size:
        reader.align(8)
        field, kind = reader.byte(), reader.signature()
        if kind == "u":
            found[field] = reader.number()
        elif kind == "g":
            found[field] = reader.signature()
        elif kind in ("s", "o"):
            found[field] = reader.text()
        else:
            raise ManagerError(f'its message has a header of type "{kind}"')
    return found


def _result_of(message: Message, job: str) -> str | None:
    """The JobRemoved signal's; None for any other message."""
    if message.kind != _SIGNAL or message.fields.get(_MEMBER) != "JobRemoved":
        return None
    message.body.number()
    if message.body.text() != job:
        return None
    message.body.text()
    return message.body.text()


def open_manager(runtime: str) -> UserManager | None:
    """``runtime``: the user's runtime directory. None when no manager listens there. Raises ManagerError, OSError."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    line.settimeout(_SECONDS)
    manager = UserManager(line)
    try:
        line.connect(f"{runtime}/systemd/private")
        manager.authenticate()
    except (FileNotFoundError, ConnectionRefusedError):
        line.close()
        return None
    except BaseException:
        line.close()
        raise
    return manager
