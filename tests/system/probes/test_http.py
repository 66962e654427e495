"""HTTP probes and hooks against real servers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from nsrun.errors import NetworkError
from nsrun.model.probe import HttpGet, Scheme
from nsrun.model.running import CheckResult
from nsrun.probes.service import NetworkProbes
from tests.system.probes.servers import answering, certificate, serving
from tests.waiting import PATIENCE

HERE = "127.0.0.1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def probes() -> NetworkProbes:
    return NetworkProbes()


async def check(probes: NetworkProbes, port: int, *, timeout: float = 10.0, **rest: str) -> CheckResult:
    return await probes.check(HttpGet(port=port, **rest), HERE, timeout)  # type: ignore[arg-type]


async def test_what_is_asked(probes: NetworkProbes) -> None:
    async with answering(OK) as server:
        assert await check(probes, server.port, path="/healthz?full=1") == CheckResult(success=True, message="ok")
        assert server.heads == [
            f"GET /healthz?full=1 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            "User-Agent: kube-probe/1.36\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ]


@pytest.mark.parametrize(("status", "success"), [(200, True), (299, True), (400, False), (404, False), (503, False)])
async def test_what_is_a_success(probes: NetworkProbes, status: int, success: bool) -> None:
    async with answering(f"HTTP/1.1 {status} X\r\n\r\nbody".encode()) as server:
        result = await check(probes, server.port)
    message = "body" if success else f"HTTP probe failed with statuscode: {status}"
    assert result == CheckResult(success=success, message=message)


async def test_every_probe_is_a_connection_of_its_own(probes: NetworkProbes) -> None:
    async with answering(OK) as server:
        for _ in range(3):
            await check(probes, server.port)
        assert server.connections == 3


async def test_redirects_on_the_same_host_are_followed(probes: NetworkProbes) -> None:
    first = b"HTTP/1.1 302 Found\r\nLocation: /there?x=1\r\n\r\n"
    second = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:{port}/in/the/end\r\n\r\n"
    async with answering(first, second, OK) as server:
        assert await check(probes, server.port) == CheckResult(success=True, message="ok")
        assert [head.split(" ")[1] for head in server.heads] == ["/", "/there?x=1", "/in/the/end"]


async def test_a_redirect_to_a_failure_is_one(probes: NetworkProbes) -> None:
    async with answering(b"HTTP/1.1 301 Moved\r\nLocation: /x\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n") as server:
        assert (await check(probes, server.port)).message == "HTTP probe failed with statuscode: 500"


async def test_redirects_to_other_hosts_are_a_success_with_a_warning(probes: NetworkProbes) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://example.org/\r\n\r\nmoved"
    async with answering(answer) as server:
        assert await check(probes, server.port) == CheckResult(
            success=True, message="Probe terminated redirects, Response body: moved", warning=True
        )
        assert server.connections == 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 302 Found\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n"])
async def test_redirects_to_nowhere(probes: NetworkProbes, answer: bytes) -> None:
    async with answering(answer) as server:
        result = await check(probes, server.port)
    assert (result.success, result.warning) == (True, True)


async def test_redirects_that_must_say_where(probes: NetworkProbes) -> None:
    async with answering(b"HTTP/1.1 308 X\r\n\r\n") as server:
        result = await check(probes, server.port)
        url = f"http://127.0.0.1:{server.port}/"
    assert result == CheckResult(success=False, message=f'Get "{url}": 308 response missing Location header')


async def test_ten_redirects_are_too_many(probes: NetworkProbes) -> None:
    async with answering(b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n") as server:
        result = await check(probes, server.port)
        assert server.connections == 10
    assert result == CheckResult(
        success=False, message=f'Get "http://127.0.0.1:{server.port}/again": stopped after 10 redirects'
    )


async def test_nobody_there(probes: NetworkProbes) -> None:
    result = await check(probes, 1)
    message = 'Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused'
    assert result == CheckResult(success=False, message=message)


async def test_a_name_that_nobody_has(probes: NetworkProbes) -> None:
    result = await check(probes, 80, host="nobody.invalid")
    message = 'Get "http://nobody.invalid:80/": dial tcp: lookup nobody.invalid: no such host'
    assert result == CheckResult(success=False, message=message)


async def test_a_name_that_somebody_has(probes: NetworkProbes) -> None:
    async with answering(OK) as server:
        assert (await check(probes, server.port, host="localhost")).success
        assert f"Host: localhost:{server.port}\r\n" in server.heads[0]


async def test_without_an_address_this_machine_is_asked(probes: NetworkProbes) -> None:
    async with answering(OK) as server:
        assert (await probes.check(HttpGet(port=server.port), "", 5)).success


async def test_ipv6(probes: NetworkProbes) -> None:
    async with answering(OK, host="::1") as server:
        assert (await probes.check(HttpGet(port=server.port), "::1", 5)).success
        assert f"Host: [::1]:{server.port}\r\n" in server.heads[0]


async def test_silence(probes: NetworkProbes) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as server:
        began = time.monotonic()
        result = await check(probes, server.port, timeout=0.2)
        assert time.monotonic() - began < 5.0 * PATIENCE
    message = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    assert result == CheckResult(success=False, message=f'Get "http://127.0.0.1:{server.port}/": {message}')


async def test_hanging_up(probes: NetworkProbes) -> None:
    async with answering(b"") as server:
        result = await check(probes, server.port)
    assert result == CheckResult(success=False, message=f'Get "http://127.0.0.1:{server.port}/": EOF')


async def test_a_body_that_never_ends_in_time_says_nothing_about_the_pod(probes: NetworkProbes) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
        await asyncio.Event().wait()

    async with serving(stall) as server:
        with pytest.raises(NetworkError, match="while reading body"):
            await check(probes, server.port, timeout=0.3)
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome") as server:
        with pytest.raises(NetworkError, match="unexpected EOF"):
            await check(probes, server.port)


async def test_a_body_longer_than_counts_is_not_waited_for(probes: NetworkProbes) -> None:
    async def long(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 20000)
        await asyncio.Event().wait()

    async with serving(long) as server:
        assert await check(probes, server.port) == CheckResult(success=True, message="x" * 10240)


# --- TLS


async def test_https_is_not_verified(probes: NetworkProbes, tmp_path: Path) -> None:
    async with answering(OK, tls=certificate(tmp_path)) as server:
        result = await probes.check(HttpGet(port=server.port, scheme=Scheme.HTTPS), HERE, 10)
        assert result == CheckResult(success=True, message="ok")


async def test_redirects_may_lead_to_https(probes: NetworkProbes, tmp_path: Path) -> None:
    async with answering(OK, tls=certificate(tmp_path)) as secure:
        location = f"HTTP/1.1 301 X\r\nLocation: https://127.0.0.1:{secure.port}/\r\n\r\n".encode()
        async with answering(location) as server:
            assert await check(probes, server.port) == CheckResult(success=True, message="ok")


async def test_https_to_a_server_that_speaks_http(probes: NetworkProbes) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with serving(plain) as server:
        action = HttpGet(port=server.port, scheme=Scheme.HTTPS)
        result = await probes.check(action, HERE, 10)
    message = f'Get "https://127.0.0.1:{server.port}/": http: server gave HTTP response to HTTPS client'
    assert result == CheckResult(success=False, message=message)


async def test_https_to_a_server_that_speaks_something_else(probes: NetworkProbes) -> None:
    async with answering(b"SSH-2.0-OpenSSH_9\r\n") as server:
        result = await probes.check(HttpGet(port=server.port, scheme=Scheme.HTTPS), HERE, 0.3)
    assert not result.success

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9\r\n")
        await reader.read()

    async with serving(speak) as server:
        result = await probes.check(HttpGet(port=server.port, scheme=Scheme.HTTPS), HERE, 10)
    assert result.message.endswith("tls: first record does not look like a TLS handshake")


async def test_https_to_a_server_that_hangs_up(probes: NetworkProbes) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)

    async with serving(leave) as server:
        result = await probes.check(HttpGet(port=server.port, scheme=Scheme.HTTPS), HERE, 10)
    assert result.message == f'Get "https://127.0.0.1:{server.port}/": EOF'


# --- hooks


async def test_any_answer_to_a_hook_is_one(probes: NetworkProbes) -> None:
    for status in (200, 404, 500):
        async with answering(f"HTTP/1.1 {status} X\r\nContent-Length: 100\r\n\r\n".encode()) as server:
            assert await probes.call(HttpGet(port=server.port), HERE, None) is None
            assert "User-Agent: kube-lifecycle/1.36\r\n" in server.heads[0]


async def test_a_hook_without_an_answer(probes: NetworkProbes) -> None:
    with pytest.raises(NetworkError, match="connection refused"):
        await probes.call(HttpGet(port=1), HERE, None)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(silent) as server:
        with pytest.raises(NetworkError, match="while awaiting headers"):
            await probes.call(HttpGet(port=server.port), HERE, 0.2)


async def test_a_hook_in_https_falls_back_to_http_and_shows_no_secret(probes: NetworkProbes) -> None:
    heads: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.read(10000)
        heads.append(head)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if head.startswith(b"GET") else b"HTTP/1.1 400 Bad\r\n\r\n")
        await writer.drain()

    async with serving(plain) as server:
        headers = (("Authorization", "Bearer secret"), ("X-A", "1"))
        action = HttpGet(port=server.port, scheme=Scheme.HTTPS, headers=headers)
        assert await probes.call(action, HERE, 10) == (
            f"request to HTTPS lifecycle hook 127.0.0.1:{server.port} got HTTP response, retry with HTTP succeeded"
        )
    assert len(heads) == 2
    assert b"X-A: 1\r\n" in heads[1]
    assert b"secret" not in heads[1]
