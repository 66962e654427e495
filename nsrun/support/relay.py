"""The doorway to ``native/relay.c``: bytes between a tool's own ends and a container's, which Python never touches."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import nsrun._native as _native
from nsrun.support.fds import Fd

__all__ = ["DETACHED", "HANGUP", "IDLE", "SHIM", "SIGNAL", "Flow", "Relay", "copy_size", "signal_fd"]

_ffi = _native.ffi
_lib = _native.lib

SHIM: Final[int] = _lib.NS_RELAY_SHIM
SIGNAL: Final[int] = _lib.NS_RELAY_SIGNAL
DETACHED: Final[int] = _lib.NS_RELAY_DETACHED
HANGUP: Final[int] = _lib.NS_RELAY_HANGUP
IDLE: Final[int] = _lib.NS_RELAY_IDLE

# What can be written to a pipe or a terminal that poll(2) calls writable, without waiting.
_ATOMIC = 4096


class Flow(NamedTuple):
    """``there``: the container's end, which the relay closes; ``here``: the tool's own. ``input``: from here to there.
    ``typed``: here is a terminal in raw mode."""

    here: int
    there: Fd
    input: bool = False
    typed: bool = False


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


def signal_fd(signals: Collection[int]) -> Fd:
    """signalfd(2) for signals that are blocked already. Raises OSError."""
    mask = 0
    for number in signals:
        mask |= 1 << (number - 1)
    fd = _lib.ns_signal_fd(mask)
    if fd < 0:
        raise OSError(-fd, os.strerror(-fd))
    return Fd(fd)


def copy_size(terminal: int, master: int) -> None:
    """Gives one terminal the size of another. Raises OSError."""
    result = _lib.ns_copy_size(terminal, master)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
