"""What is left of a request that became something else: connections, as the handlers of streams see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Connection", "Upgrade", "WebSocket", "WebSocketUpgrade"]


class Connection(Protocol):
    """Bytes both ways, after 101."""

    async def read(self) -> bytes:
        """Some bytes; empty at the end, and from then on."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. Raises ConnectionError when the other side is gone."""
        ...

    def close(self) -> None:
        """Ends both directions, after what was written."""
        ...


class WebSocket(Protocol):
    """Messages both ways. ``protocol``: the one chosen, "" for none."""

    @property
    def protocol(self) -> str: ...

    async def receive(self) -> bytes | str | None:
        """The next message: binary or text; None at the end, and from then on."""
        ...

    async def send(self, message: bytes | str) -> None:
        """Returns when there is room for more. Raises ConnectionError when the other side is gone."""
        ...

    async def close(self, code: int = 1000) -> None:
        """Says good-bye (RFC 6455 §7.4)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """101 with ``Upgrade: <protocol>`` and the headers, and then ``run`` has the connection until it returns."""

    protocol: str
    run: Callable[[Connection], Awaitable[None]]
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketUpgrade:
    """A WebSocket that speaks the first of the client's protocols that is one of ``protocols``; "" in it: none is
    needed. With no match the handshake is refused (403). ``run`` has it until it returns."""

    protocols: tuple[str, ...]
    run: Callable[[WebSocket], Awaitable[None]]
