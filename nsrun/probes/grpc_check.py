"""One gRPC health check without TLS (pkg/probe/grpc). The one doorway to h2, which is loaded at the first check."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nsrun.model.probe import Grpc
from nsrun.model.running import CheckResult
from nsrun.probes.grpc_messages import code_name, encoded_request, message_text, serving_status
from nsrun.probes.stream import Dialer, PlainStream
from nsrun.probes.wording import PROBE_AGENT, ProbeFailure, join_host_port, shortened

if TYPE_CHECKING:
    from h2.connection import H2Connection
    from h2.events import Event

__all__ = ["GrpcAsker"]

MOST_BYTES = 65536
"""Bytes a server may send in the course of one check, which needs some hundred."""

_PIECE = 1024
"""Bytes that are looked at before others have their turn, the deadline among them: they may be a hundred frames."""

_PATH = "/grpc.health.v1.Health/Check"


@dataclass(slots=True)
class _Call:
    """What has come of a call. ``ready``: the server has said that it speaks HTTP/2. ``asked``: the
    request is on its way."""

    ready: bool = False
    asked: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    failure: str = ""


class GrpcAsker:
    """Asks health services."""

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer

    async def check(self, action: Grpc, address: str, timeout: float) -> CheckResult:
        """A probe; ``timeout`` in seconds. Every failure is an answer."""
        where, call = join_host_port(address, action.port), _Call()
        try:
            async with asyncio.timeout(timeout):
                plain = await self._dialer.dial(address, action.port)
                try:
                    await _converse(plain, where, action.service, timeout, call)
                finally:
                    plain.close()
            return _judged(call)
        except ProbeFailure as error:
            failed = "health rpc probe failed" if call.ready else f'failed to connect service at "{where}"'
            return CheckResult(success=False, message=f"error: {failed}: {shortened(str(error))}")
        except TimeoutError:
            if call.ready:
                message = f"timeout: health rpc did not complete within {timeout:g}s"
            else:
                message = f'timeout: failed to connect service "{where}" within {timeout:g}s: context deadline exceeded'
            return CheckResult(success=False, message=message)


async def _converse(plain: PlainStream, where: str, service: str, timeout: float, call: _Call) -> None:
    """Until the call ended. Raises ProbeFailure."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.exceptions import H2Error

    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    await plain.send(connection.data_to_send())
    heard = 0
    while not call.ended:
        received = await plain.receive()
        heard += len(received)
        if not received:
            raise ProbeFailure("rpc error: code = Unavailable desc = error reading from server: EOF")
        if heard > MOST_BYTES:
            raise ProbeFailure(f"rpc error: code = ResourceExhausted desc = more than {MOST_BYTES} bytes in the answer")
        try:
            for start in range(0, len(received), _PIECE):
                _hear(connection, received[start : start + _PIECE], call)
                await asyncio.sleep(0)
            if call.ready and not call.asked:
                call.asked = True
                _send_request(connection, where, service, timeout)
        # h2 passes on what hpack and hyperframe make of bytes that are not theirs.
        except (H2Error, ValueError, LookupError) as error:
            raise ProbeFailure(f"rpc error: code = Unavailable desc = connection error: {error}") from error
        await plain.send(connection.data_to_send())


def _send_request(connection: H2Connection, where: str, service: str, timeout: float) -> None:
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", _PATH),
        (":authority", where),
        ("content-type", "application/grpc"),
        ("user-agent", PROBE_AGENT),
        ("te", "trailers"),
        ("grpc-timeout", f"{int(timeout * 1000)}m"),
    ]
    connection.send_headers(1, headers)
    connection.send_data(1, encoded_request(service), end_stream=True)


def _hear(connection: H2Connection, received: bytes, call: _Call) -> None:
    for event in connection.receive_data(received):
        _note(event, call)


def _note(event: Event, call: _Call) -> None:
    from h2 import events

    match event:
        case events.RemoteSettingsChanged():
            call.ready = True
        case events.ResponseReceived() | events.TrailersReceived():
            call.headers |= {str(name): str(value) for name, value in event.headers or ()}
        case events.DataReceived():
            call.data += event.data or b""
        case events.StreamEnded():
            call.ended = True
        case events.StreamReset():
            call.ended = True
            call.failure = f"rpc error: code = Internal desc = stream terminated by RST_STREAM ({event.error_code})"
        case events.ConnectionTerminated():
            call.ended = True
            call.failure = f"rpc error: code = Unavailable desc = the server went away ({event.error_code})"


def _judged(call: _Call) -> CheckResult:
    """Raises ProbeFailure."""
    if call.failure:
        raise ProbeFailure(call.failure)
    http = call.headers.get(":status", "")
    status = call.headers.get("grpc-status", "")
    if not status:
        raise ProbeFailure(f"rpc error: code = Unknown desc = unexpected HTTP status code received from server: {http}")
    if code_name(status) != "OK":
        return _refused(code_name(status), message_text(call.headers.get("grpc-message", "")))
    answer = serving_status(bytes(call.data))
    if answer != "SERVING":
        return CheckResult(success=False, message=f'service unhealthy (responded with "{answer}")')
    return CheckResult(success=True, message="service healthy")


def _refused(code: str, text: str) -> CheckResult:
    text = shortened(text)
    if code == "Unimplemented":
        protocol = "the grpc health protocol (grpc.health.v1.Health)"
        return CheckResult(success=False, message=f"error: this server does not implement {protocol}: {text}")
    return CheckResult(success=False, message=f"error: health rpc probe failed: rpc error: code = {code} desc = {text}")
