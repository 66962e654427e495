"""The doorway to ``native/relay.c``: bytes between a tool's own ends and a container's, which Python never touches."""

from __future__ import annotations

import os
import stat

import nsrun._native as _native
from nsrun.support.fds import Fd

TYPE_CHECKING = False  # `typing` is dear, and `nsrun exec` in a hurry
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType
    from typing import Final

__all__ = [
    "DETACHED",
    "HANGUP",
    "IDLE",
    "SHIM",
    "SIGHUP",
    "SIGINT",
    "SIGNAL",
    "SIGQUIT",
    "SIGTERM",
    "SIGUSR1",
    "SIGUSR2",
    "SIGWINCH",
    "Flow",
    "Relay",
    "ToldSignals",
    "copy_size",
]

_ffi = _native.ffi
_lib = _native.lib

SHIM: Final[int] = _lib.NS_RELAY_SHIM
SIGNAL: Final[int] = _lib.NS_RELAY_SIGNAL
DETACHED: Final[int] = _lib.NS_RELAY_DETACHED
HANGUP: Final[int] = _lib.NS_RELAY_HANGUP
IDLE: Final[int] = _lib.NS_RELAY_IDLE

# As numbers: `signal` takes as long to load as all of this.
SIGHUP: Final[int] = _lib.SIGHUP
SIGINT: Final[int] = _lib.SIGINT
SIGQUIT: Final[int] = _lib.SIGQUIT
SIGTERM: Final[int] = _lib.SIGTERM
SIGUSR1: Final[int] = _lib.SIGUSR1
SIGUSR2: Final[int] = _lib.SIGUSR2
SIGWINCH: Final[int] = _lib.SIGWINCH

# What can be written to a pipe or a terminal that poll(2) calls writable, without waiting.
_ATOMIC = 4096


class Flow:
    """``there``: the container's end, which the relay closes; ``here``: the tool's own. ``input``: from here to there.
    ``typed``: here is a terminal in raw mode."""

    __slots__ = ("here", "input", "there", "typed")

    def __init__(self, here: int, there: Fd, *, input: bool = False, typed: bool = False) -> None:
        self.here, self.there = here, there
        self.input, self.typed = input, typed


class Relay:
    """What goes where. ``terminal`` and ``master``: whose size follows whose, -1 for none; ``keys``: detach."""

    def __init__(
        self,
        flows: Sequence[Flow],
        *,
        shim: int,
        signals: int,
        terminal: int = -1,
        master: int = -1,
        keys: bytes = b"",
    ) -> None:
        self._relay = _ffi.new("struct ns_relay *")
        self._relay.shim_fd, self._relay.signal_fd = shim, signals
        self._relay.terminal_fd, self._relay.master_fd = terminal, master
        self._relay.key_count, self._relay.keys = len(keys), keys
        self._relay.flow_count = len(flows)
        for raw, flow in zip(self._relay.flows, flows, strict=False):
            there = flow.there.detach()
            raw.from_fd, raw.to_fd = (flow.here, there) if flow.input else (there, flow.here)
            raw.flags = (_lib.NS_FLOW_INPUT if flow.input else 0) | (_lib.NS_FLOW_TYPED if flow.typed else 0)
            raw.chunk = _chunk(raw.to_fd)

    def run(self, *, draining: bool = False) -> int:
        """Until an event: SHIM, SIGNAL, DETACHED, HANGUP; ``draining``, which copies only what was written already,
        until IDLE or SIGNAL. The GIL is released. Raises OSError."""
        event: int = _lib.ns_relay_run(self._relay, draining)
        if event < 0:
            raise OSError(-event, os.strerror(-event))
        return event

    @property
    def signal(self) -> int:
        """Which came last."""
        number: int = self._relay.signal
        return number

    @property
    def errors(self) -> list[int]:
        """Errnos of writes that failed."""
        flows = (self._relay.flows[index] for index in range(self._relay.flow_count))
        return [flow.error for flow in flows if flow.error]


def _chunk(fd: int) -> int:
    waits = os.get_blocking(fd) and not stat.S_ISREG(os.fstat(fd).st_mode)
    return _ATOMIC if waits else int(_lib.NS_RELAY_ROOM)


class ToldSignals:
    """A descriptor that tells signals, which do nothing else meanwhile. What is ignored stays ignored."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._told = _ffi.new("struct ns_told *")
        for number in numbers:
            self._told.signals |= 1 << (number - 1)

    def __enter__(self) -> Fd:
        """Raises OSError."""
        fd = _lib.ns_tell_signals(self._told)
        if fd < 0:
            raise OSError(-fd, os.strerror(-fd))
        self._fd = Fd(fd)
        return self._fd

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """One that was not read came too late to be passed on."""
        _lib.ns_untell_signals(self._told)
        self._fd.close()


def copy_size(terminal: int, master: int) -> None:
    """Gives one terminal the size of another. Raises OSError."""
    result = _lib.ns_copy_size(terminal, master)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
