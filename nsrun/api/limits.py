"""How much a client may ask of the server: bytes, seconds, connections."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one listener.

    ``connections``: at once. ``streams``: requests at once that hold a log, a command or a port. ``line``: bytes of a
    request line (a command with its arguments travels in it), ``field``: of a header, ``headers``: how many.
    ``body``: bytes. ``handshake``, ``head``: seconds until TLS, and the first request's head, are through; ``request``:
    seconds for a body to arrive, and for a whole answer to be taken. ``idle``: seconds of a connection without a
    request, ``stream``: of a stream in which nothing moves.
    """

    connections: int = 1024
    streams: int = 512
    line: int = 128 << 10
    field: int = 16 << 10
    headers: int = 128
    body: int = 1 << 20
    handshake: float = 10.0
    head: float = 10.0
    request: float = 30.0
    idle: float = 90.0
    stream: float = 4 * 3600.0
