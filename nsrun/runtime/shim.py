"""The client of a pod's shim: requests by serial over one SOCK_SEQPACKET socket, descriptors beside them, ends as they
come. A shim that dies closes the socket, and that is how it is known.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.runtime.shimsocket import Said, receive, send
from nsrun.support import native
from nsrun.support.native import Message, abi

__all__ = ["Conversation", "LogLimits", "Shim"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """How much of a container's output is kept: ``files`` of ``bytes`` each, the kubelet's containerLogMaxFiles (2 or
    more) and containerLogMaxSize. A file is rotated by the shim as soon as it has the size, and never compressed: every
    reader of logs can go on with it."""

    bytes: int = 10 << 20
    files: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request that is answered twice. ``started``: NS_MSG_STARTED and the descriptors that came with it, or what was
    said instead of it; ``ended``: NS_MSG_RESULT or NS_MSG_FAILED. Both raise RuntimeFailure when the shim is gone.
    Whoever has it takes the descriptors, if need be by ``abandon``."""

    serial: int
    started: asyncio.Future[Said]
    ended: asyncio.Future[Message]

    def abandon(self) -> None:
        """Closes what came, and what may still come."""
        self.started.add_done_callback(_close_all)


def _close_all(started: asyncio.Future[Said]) -> None:
    if not started.cancelled() and started.exception() is None:
        for fd in started.result().fds:
            fd.close()


class Shim:
    """One connection. ``pid``: the shim's.

    Made inside a running event loop; ``on_exit`` and ``on_death`` are called from it, ``on_death`` once.
    Invariant: ``_waiting`` holds every request without its answer, ``_starting`` every conversation that has not begun;
    empty once ``closed``.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        pid: int,
        on_exit: Callable[[Message], None],
        on_death: Callable[[], None],
    ) -> None:
        self.pid = pid
        self.closed = False
        self._connection = connection
        self._on_exit = on_exit
        self._on_death = on_death
        self._serial = 0
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._starting: dict[int, asyncio.Future[Said]] = {}
        self._listing: dict[int, list[Message]] = {}
        self._outgoing: list[tuple[bytes, Sequence[int], asyncio.Future[None]]] = []
        self._loop = asyncio.get_running_loop()
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._read)

    async def request(
        self, kind: int, *, flags: int = 0, value: int = 0, id: str = "", log: str = "", fds: Sequence[int] = ()
    ) -> Message:
        """Sends a request with descriptors (which stay the caller's) and returns its answer, NS_MSG_DONE or
        NS_MSG_FAILED. Raises RuntimeFailure when the shim is gone, or goes before it answers."""
        return await (await self.begin(kind, flags=flags, value=value, id=id, log=log, fds=fds))

    async def begin(
        self, kind: int, *, flags: int = 0, value: int = 0, id: str = "", log: str = "", fds: Sequence[int] = ()
    ) -> asyncio.Future[Message]:
        """The same, but returns as soon as it is sent: the answer comes even if nobody waits for it."""
        serial, answer = self._expect()
        await self._ask(native.pack_request(kind, serial, flags=flags, value=value, id=id, log=log), fds, answer)
        return answer

    async def launch(
        self, id: str, fds: Sequence[int], *, flags: int = 0, log: str = "", limits: LogLimits | None = None
    ) -> asyncio.Future[Message]:
        """Asks for a launch, as ``begin`` does. ``log``: its file's name; ``limits`` None: it grows without end."""
        serial, answer = self._expect()
        request = native.pack_request(
            abi.NS_REQ_LAUNCH,
            serial,
            flags=flags,
            id=id,
            log=log,
            log_bytes=limits.bytes if limits is not None else 0,
            log_files=limits.files if limits is not None else 0,
        )
        await self._ask(request, fds, answer)
        return answer

    async def execute(
        self, id: str, fds: Sequence[int], *, flags: int = 0, timeout: float | None = None, output_limit: int = 0
    ) -> Message:
        """Runs a command in a running container; returns at its end, NS_MSG_RESULT or NS_MSG_FAILED. ``fds``: its plan,
        and its stdio when ``flags`` say so; ``timeout`` in seconds. Cancelled, it has the command killed. Raises
        RuntimeFailure when the shim is gone, or goes before it answers."""
        serial, answer = self._expect()
        nanoseconds = 0 if timeout is None else max(int(timeout * 1e9), 1)
        request = native.pack_request(
            abi.NS_REQ_EXEC, serial, flags=flags, id=id, timeout_ns=nanoseconds, output_limit=output_limit
        )
        try:
            await self._ask(request, fds, answer)
            return await answer
        except asyncio.CancelledError:
            self.cancel(serial)
            raise

    async def converse(self, kind: int, id: str, fds: Sequence[int], *, flags: int = 0) -> Conversation:
        """Asks for what lasts, and has a start and an end: a command with streams, or an attachment. Cancelled, it has
        that ended. Raises RuntimeFailure when the shim is gone."""
        serial, answer = self._expect()
        started: asyncio.Future[Said] = self._loop.create_future()
        conversation = Conversation(serial=serial, started=started, ended=answer)
        self._starting[serial] = started
        started.add_done_callback(lambda _: self._starting.pop(serial, None))
        answer.add_done_callback(lambda ended: _never_started(started, ended))
        try:
            await self._ask(native.pack_request(kind, serial, flags=flags, id=id), fds, answer)
        except asyncio.CancelledError:
            self.cancel(serial)
            raise
        return conversation

    async def signal_command(self, serial: int, number: int) -> Message:
        """Signals the process of a command that was asked for here. Raises RuntimeFailure when the shim is gone."""
        own, answer = self._expect()
        await self._ask(native.pack_request(abi.NS_REQ_SIGNAL, own, value=number, of_serial=serial), (), answer)
        return await answer

    def _expect(self) -> tuple[int, asyncio.Future[Message]]:
        """A new request's serial, and where its answer will come."""
        self._check_open()
        self._serial += 1
        serial = self._serial
        answer: asyncio.Future[Message] = self._loop.create_future()
        self._waiting[serial] = answer
        answer.add_done_callback(lambda _: self._waiting.pop(serial, None))
        return serial, answer

    async def _ask(self, request: bytes, fds: Sequence[int], answer: asyncio.Future[Message]) -> None:
        try:
            await self._send(request, fds)
        except BaseException:
            answer.cancel()
            raise

    def cancel(self, of_serial: int) -> None:
        """Has a command killed, or an attachment ended. Waits for nothing: who asks is being cancelled."""
        if self.closed:
            return
        self._serial += 1
        request = native.pack_request(abi.NS_REQ_CANCEL, self._serial, of_serial=of_serial)
        try:
            if self._outgoing or not self._try_send(request, ()):
                self._queue(request, ()).add_done_callback(lambda sent: sent.cancelled() or sent.exception())
        except RuntimeFailure:
            pass  # then the shim is gone, or sees us go

    async def entries(self) -> list[Message]:
        """Everything the shim knows, running and ended. Raises RuntimeFailure."""
        serial = self._serial + 1
        self._listing[serial] = []
        try:
            await self.request(abi.NS_REQ_LIST)
            return self._listing[serial]
        finally:
            del self._listing[serial]

    def close(self) -> None:
        """Leaves the shim alone from now on; it lives on. No callback comes any more."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(_gone())
        for _, _, sent in self._outgoing:
            if not sent.done():
                sent.set_exception(_gone())
        self._waiting.clear()
        self._outgoing.clear()

    # --- inside

    def _check_open(self) -> None:
        if self.closed:
            raise _gone()

    async def _send(self, message: bytes, fds: Sequence[int]) -> None:
        if not self._outgoing and self._try_send(message, fds):
            return
        await self._queue(message, fds)

    def _queue(self, message: bytes, fds: Sequence[int]) -> asyncio.Future[None]:
        sent: asyncio.Future[None] = self._loop.create_future()
        self._outgoing.append((message, fds, sent))
        self._loop.add_writer(self._connection.fileno(), self._write)
        return sent

    def _try_send(self, message: bytes, fds: Sequence[int]) -> bool:
        """False: the socket is full."""
        try:
            send(self._connection, message, fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionError) as error:
            raise _gone() from error
        except OSError as error:
            raise RuntimeFailure(f"cannot send to the shim: {describe_errno(error.errno or 0)}") from error
        return True

    def _write(self) -> None:
        while self._outgoing:
            message, fds, sent = self._outgoing[0]
            try:
                if not sent.done() and not self._try_send(message, fds):
                    return
            except RuntimeFailure as error:
                if not sent.done():
                    sent.set_exception(error)
            self._outgoing.pop(0)
            if not sent.done():
                sent.set_result(None)
        self._loop.remove_writer(self._connection.fileno())

    def _read(self) -> None:
        while not self.closed:
            try:
                said = receive(self._connection)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                self._die()
                return
            self._dispatch(said)

    def _dispatch(self, said: Said) -> None:
        """Descriptors that nobody takes are closed with the last word about them."""
        message = said.message
        if message.kind == abi.NS_MSG_STARTED:
            started = self._starting.get(message.serial)
            if started is not None and not started.done():
                started.set_result(said)
        elif message.kind == abi.NS_MSG_EXIT:
            self._on_exit(message)
        elif message.kind == abi.NS_MSG_ENTRY:
            self._listing.get(message.serial, []).append(message)
        else:
            answer = self._waiting.get(message.serial)
            if answer is not None and not answer.done():
                answer.set_result(message)

    def _die(self) -> None:
        """The socket ended, or what came is no message of ours: either way nobody is there to talk to."""
        self.close()
        self._on_death()


def _never_started(started: asyncio.Future[Said], ended: asyncio.Future[Message]) -> None:
    """It is over, so it will not begin any more."""
    if started.done():
        return
    if ended.cancelled():
        started.cancel()
    elif (error := ended.exception()) is not None:
        started.set_exception(error)
    else:
        started.set_result(Said(ended.result(), ()))


def _gone() -> RuntimeFailure:
    return RuntimeFailure("the pod's shim is gone", hint="the pod will be started again")
