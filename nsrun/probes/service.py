"""The Probes port: each kind of question to whoever asks it."""

from __future__ import annotations

import asyncio

from nsrun.model.probe import Grpc, HttpGet, NetworkCheck, TcpSocket
from nsrun.model.running import CheckResult
from nsrun.probes.grpc_check import GrpcAsker
from nsrun.probes.http_get import HttpAsker
from nsrun.probes.stream import Dialer, Sockets, host_socket
from nsrun.probes.wording import ProbeFailure, join_host_port

__all__ = ["NetworkProbes"]


class NetworkProbes:
    """Asks pods over the network, from the host. Belongs to one event loop."""

    def __init__(self, sockets: Sockets = host_socket) -> None:
        """``sockets``: where connections are made from."""
        self._dialer = Dialer(sockets)
        self._http = HttpAsker(self._dialer)
        self._grpc = GrpcAsker(self._dialer)

    async def check(self, action: NetworkCheck, address: str, timeout: float) -> CheckResult:
        """One probe. Raises NetworkError for an answer that says nothing about the pod."""
        match action:
            case HttpGet():
                return await self._http.check(action, address, timeout)
            case TcpSocket():
                return await self._connect(action, address, timeout)
            case Grpc():
                return await self._grpc.check(action, address, timeout)

    async def call(self, action: HttpGet, address: str, timeout: float | None) -> str | None:
        """A hook. Raises NetworkError."""
        return await self._http.call(action, address, timeout)

    async def _connect(self, action: TcpSocket, address: str, timeout: float) -> CheckResult:
        host, port = action.host or address, int(action.port)
        try:
            async with asyncio.timeout(timeout):
                (await self._dialer.dial(host, port)).close()
        except ProbeFailure as error:
            return CheckResult(success=False, message=str(error))
        except TimeoutError:
            return CheckResult(success=False, message=f"dial tcp {join_host_port(host, port)}: i/o timeout")
        return CheckResult(success=True)
