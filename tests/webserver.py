"""A web server that answers as a test says, byte by byte: also what no real one would."""

from __future__ import annotations

import asyncio
import gzip
import queue
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import PATIENCE

__all__ = ["Asked", "WebServer", "answer", "authority", "redirect", "web_server", "web_server_beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request. ``headers``: names in lower case."""

    path: str
    headers: Mapping[str, str]


_TLS = b"\x16"  # begins a handshake: RFC 8446, 5.1

Handler = Callable[[Asked], bytes | None]
"""What is sent in answer, whole; None: nothing, and the connection stays open."""


@dataclass(slots=True, kw_only=True)
class WebServer:
    """Listens on ``127.0.0.1:port``. ``handler`` can be exchanged at any time; ``asked`` is all that came."""

    port: int = 0
    scheme: str = "http"
    handler: Handler = lambda asked: answer(b"", status="404 Not Found")
    asked: list[Asked] = field(default_factory=list)

    def url(self, path: str = "/pods.yaml", *, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"

    def says(self, body: str | bytes) -> None:
        """From now on every answer is this."""
        data = body.encode() if isinstance(body, str) else body
        self.handler = lambda _: answer(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for one request."""
        try:
            first = await reader.readexactly(1)
            if first == _TLS:
                return  # every server hangs up when it is spoken to in TLS and knows none
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            asked = Asked(path=head[0].split(" ")[1], headers=headers)
            self.asked.append(asked)
            data = self.handler(asked)
            if data is None:
                await reader.read()
            else:
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def web_server(*, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[WebServer]:
    web = WebServer(scheme="http" if tls is None else "https")
    listener = await asyncio.start_server(web.serve, "127.0.0.1", port, ssl=tls)
    web.port = listener.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        listener.close()


@contextmanager
def web_server_beside(*, port: int = 0) -> Iterator[WebServer]:
    """The same, in a thread of its own, for tests that wait for other programs."""
    started: queue.Queue[tuple[WebServer, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def serve() -> None:
        ending = asyncio.Event()
        async with web_server(port=port) as web:
            started.put((web, asyncio.get_running_loop(), ending))
            await ending.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    web, loop, ending = started.get(timeout=20 * PATIENCE)
    try:
        yield web
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()


def answer(body: bytes, *, status: str = "200 OK", packed: bool = False, **headers: str) -> bytes:
    """A whole answer. Underscores in the names of headers stand for dashes."""
    data = gzip.compress(body, mtime=0) if packed else body
    named = {"Content-Length": str(len(data)), "Connection": "close"}
    if packed:
        named["Content-Encoding"] = "gzip"
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + data


def redirect(url: str, status: str = "302 Found") -> bytes:
    return answer(b"", status=status, Location=url)


def authority(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1, and the file that makes one trust it."""
    key, certificate = directory / "key.pem", directory / "cert.pem"
    shape = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    name = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ("openssl", "req", "-x509", *shape, *name, "-keyout", str(key), "-out", str(certificate))
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate
