"""exec and attach as clients speak them: over SPDY, and over WebSockets."""

from __future__ import annotations

import asyncio
import logging

from nsrun.api.connections import Connection, WebSocket
from nsrun.api.streaming.channels import ChannelError, channels
from nsrun.api.streaming.remotecommand import OpenSession, Streams, converse
from nsrun.api.streaming.remotecommand_status import status_text
from nsrun.api.streaming.spdy_headers import SpdyError
from nsrun.api.streaming.spdy_session import SpdySession, SpdyStream, spdy_session
from nsrun.supervisor.ports import SessionRequest

__all__ = ["SPDY_PROTOCOLS", "WEBSOCKET_PROTOCOLS", "over_spdy", "over_websocket"]

log = logging.getLogger(__name__)

SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
WEBSOCKET_PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
_RESIZES = frozenset(SPDY_PROTOCOLS[:2])
STREAMS_SECONDS = 30.0
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE = range(5)


async def over_spdy(connection: Connection, protocol: str, open_session: OpenSession, request: SessionRequest) -> None:
    """A stream for each of error, stdin, stdout, stderr and resize, as the request has them. Returns at its end."""
    wanted = {
        "error": True,
        "stdin": request.stdin,
        "stdout": request.stdout,
        "stderr": request.stderr,
        "resize": request.terminal and protocol in _RESIZES,
    }
    try:
        async with spdy_session(connection, max_streams=len(wanted)) as spdy:
            async with asyncio.timeout(STREAMS_SECONDS):
                named = await _streams(spdy, {name for name, is_wanted in wanted.items() if is_wanted})
            streams = Streams(
                stdin=named.get("stdin"),
                stdout=named.get("stdout"),
                stderr=named.get("stderr"),
                resize=named.get("resize"),
            )
            outcome = await converse(open_session, request, streams)
            await named["error"].write(status_text(protocol, outcome).encode())
            named["error"].end()
    except* (ConnectionError, SpdyError, TimeoutError) as group:
        log.debug("A session ended early: %s", group.exceptions)


async def _streams(spdy: SpdySession, missing: set[str]) -> dict[str, SpdyStream]:
    """Those streams, in whatever order they come. Any other one is reset."""
    named: dict[str, SpdyStream] = {}
    while missing:
        stream = await spdy.accept()
        kind = stream.headers.get("streamtype", "")
        if kind in missing:
            missing = missing - {kind}
            named[kind] = stream
        else:
            stream.reset()
    spdy.accept_no_more()
    for kind in ("error", "stdout", "stderr"):
        if kind in named:
            named[kind].discard()  # nothing comes on them; what does must not hold up the others
    return named


async def over_websocket(websocket: WebSocket, open_session: OpenSession, request: SessionRequest) -> None:
    """Channels 0 to 4. Returns at its end."""
    heard = {_RESIZE, _STDIN} if request.stdin else {_RESIZE}
    try:
        async with channels(websocket, heard) as session:
            await session.greet(_STDOUT if request.stdout else _STDERR if request.stderr else _STATUS)
            streams = Streams(
                stdin=session.sources.get(_STDIN),
                stdout=session.sink(_STDOUT) if request.stdout else None,
                stderr=session.sink(_STDERR) if request.stderr else None,
                resize=session.sources[_RESIZE],
            )
            outcome = await converse(open_session, request, streams)
            if text := status_text(session.protocol, outcome):
                await session.sink(_STATUS).write(text.encode())
    except* (ConnectionError, ChannelError) as group:
        log.debug("A session ended early: %s", group.exceptions)
