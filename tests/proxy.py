"""An HTTP proxy as companies have them, on loopback: CONNECT and whole URLs, for those who say who they are."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

__all__ = ["Proxy", "proxy"]

_DENIED = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"


class Proxy:
    """``hosts``: where the names lead that are asked for. ``user``: ``name:password``, empty for everybody.
    ``asked``: first lines of requests. ``seen``: every header that a request for the proxy's eyes had, lower case."""

    def __init__(self, hosts: Mapping[str, int], user: str) -> None:
        self.hosts = hosts
        self.user = user
        self.port = 0
        self.asked: list[str] = []
        self.seen: list[Mapping[str, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
        self.asked.append(first)
        self.seen.append(headers)
        scheme, _, given = headers.get("proxy-authorization", "").partition(" ")
        if self.user and (scheme != "Basic" or b64decode(given).decode() != self.user):
            writer.write(_DENIED)
            await writer.drain()
            return
        method, target, _ = first.split(" ")
        host = target.partition("://")[2].partition("/")[0] if method != "CONNECT" else target
        onward, to = await asyncio.open_connection("127.0.0.1", self.hosts[host])
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = target.partition("://")[2].removeprefix(host)
            kept = [line for line in rest if not line.lower().startswith(("proxy-", "connection:"))]
            to.write("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode())
        await asyncio.gather(_pour(reader, to), _pour(onward, writer))


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


@asynccontextmanager
async def proxy(hosts: Mapping[str, int], user: str = "") -> AsyncIterator[Proxy]:
    made = Proxy(hosts, user)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
