"""TCP and gRPC probes against real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nsrun.model.probe import Grpc, TcpSocket
from nsrun.model.running import CheckResult
from nsrun.probes.service import NetworkProbes
from tests.system.probes.grpc_server import HEAD, Answer, health, refusal, status_answer
from tests.system.probes.servers import Server, answering, serving

HERE = "127.0.0.1"


@pytest.fixture
async def probes() -> NetworkProbes:
    return NetworkProbes()


async def test_a_connection_is_enough(probes: NetworkProbes) -> None:
    async with answering(b"") as server:
        assert await probes.check(TcpSocket(port=server.port), HERE, 5) == CheckResult(success=True)
        assert await probes.check(TcpSocket(port=server.port, host="localhost"), "203.0.113.1", 5) == CheckResult(
            success=True
        )


async def test_no_connection(probes: NetworkProbes) -> None:
    result = await probes.check(TcpSocket(port=1), HERE, 5)
    assert result == CheckResult(success=False, message="dial tcp 127.0.0.1:1: connect: connection refused")


# --- gRPC


class Health:
    """A health service: by service, what it answers; None hangs."""

    def __init__(self) -> None:
        self.answers: dict[bytes, Answer | None] = {}
        self.headers: list[dict[str, str]] = []
        self.server = Server()

    def answer(self, headers: dict[str, str], body: bytes) -> Answer | None:
        self.headers.append(headers)
        return self.answers.get(body, refusal(5, "unknown%20service"))


@pytest.fixture
async def served() -> AsyncIterator[Health]:
    service = Health()
    async with serving(health(service.answer)) as server:  # type: ignore[arg-type]
        service.server = server
        yield service


EVERYTHING = b"\0\0\0\0\0"


async def test_serving(probes: NetworkProbes, served: Health) -> None:
    served.answers = {EVERYTHING: status_answer("SERVING"), b"\0\0\0\0\4\n\2db": status_answer("SERVING")}
    action = Grpc(port=served.server.port)
    assert await probes.check(action, HERE, 5) == CheckResult(success=True, message="service healthy")
    action = Grpc(port=served.server.port, service="db")
    assert await probes.check(action, HERE, 5) == CheckResult(success=True, message="service healthy")
    headers = served.headers[0]
    assert (headers[":method"], headers[":path"], headers[":scheme"]) == (
        "POST",
        "/grpc.health.v1.Health/Check",
        "http",
    )
    assert (headers[":authority"], headers["te"]) == (f"127.0.0.1:{served.server.port}", "trailers")
    assert (headers["content-type"], headers["user-agent"]) == ("application/grpc", "kube-probe/1.36")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (status_answer("NOT_SERVING"), 'service unhealthy (responded with "NOT_SERVING")'),
        (status_answer("UNKNOWN"), 'service unhealthy (responded with "UNKNOWN")'),
        (refusal(5, "no"), "error: health rpc probe failed: rpc error: code = NotFound desc = no"),
        (
            refusal(12, "unknown%20method"),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown method",
        ),
        (
            ([(":status", "404")], None, []),
            "error: health rpc probe failed: rpc error: code = Unknown desc = "
            "unexpected HTTP status code received from server: 404",
        ),
        (
            (HEAD, None, [("grpc-status", "0")]),
            "error: health rpc probe failed: rpc error: code = Internal desc = "
            "cardinality violation: no response message",
        ),
    ],
)
async def test_not_serving(probes: NetworkProbes, served: Health, answer: Answer, message: str) -> None:
    served.answers = {EVERYTHING: answer}
    result = await probes.check(Grpc(port=served.server.port), HERE, 5)
    assert result == CheckResult(success=False, message=message)


async def test_a_service_that_does_not_answer(probes: NetworkProbes, served: Health) -> None:
    served.answers = {EVERYTHING: None}
    result = await probes.check(Grpc(port=served.server.port), HERE, 1)
    assert result == CheckResult(success=False, message="timeout: health rpc did not complete within 1s")


async def test_a_server_that_says_nothing(probes: NetworkProbes) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as server:
        result = await probes.check(Grpc(port=server.port), HERE, 1)
    where = f"127.0.0.1:{server.port}"
    message = f'timeout: failed to connect service "{where}" within 1s: context deadline exceeded'
    assert result == CheckResult(success=False, message=message)


async def test_a_server_that_speaks_something_else(probes: NetworkProbes) -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        result = await probes.check(Grpc(port=server.port), HERE, 5)
    assert not result.success
    assert result.message.startswith(f'error: failed to connect service at "127.0.0.1:{server.port}": ')


async def test_nobody_there(probes: NetworkProbes) -> None:
    result = await probes.check(Grpc(port=1), HERE, 5)
    message = 'error: failed to connect service at "127.0.0.1:1": dial tcp 127.0.0.1:1: connect: connection refused'
    assert result == CheckResult(success=False, message=message)
