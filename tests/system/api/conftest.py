"""A server of the API with routes of the test's own, on real sockets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from nsrun.api.limits import Limits
from nsrun.api.routes import Route
from nsrun.api.server import Secure, ServerSettings, serve

__all__ = ["Served", "Serving", "free_port", "head_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where a server listens."""

    socket_path: Path
    port: int


Serving = Callable[..., AbstractAsyncContextManager[Served]]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def head_of(received: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer; names in lower case."""
    first, *rest = received.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    return int(first.split()[1]), {name.lower(): value for name, value in headers.items()}


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """``async with serving(route, …, limits=…, secure=…)`` serves."""

    @contextlib.asynccontextmanager
    async def start(
        *routes: Route, limits: Limits | None = None, secure: Secure | None = None
    ) -> AsyncIterator[Served]:
        settings = ServerSettings(
            socket_path=tmp_path / "s",
            address="127.0.0.1",
            read_only_port=free_port(),
            secure=secure,
            host_names=("node-1",),
            limits=limits or Limits(),
        )
        async with serve(routes, settings):
            yield Served(socket_path=settings.socket_path, port=settings.read_only_port)

    return start
