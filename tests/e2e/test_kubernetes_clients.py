"""Other clients than kubectl: Kubernetes' own library for Python through an API front, and the newer protocols, which
no old kubectl speaks, by hand against the node's secure port."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from kubernetes import client
from kubernetes.stream import portforward, stream

from nsrun.api.streaming.channels import decode, encode
from tests.e2e.cluster import GREETING, Cluster, cluster, serving
from tests.unit.api.streaming.spdyclient import SpdyClient
from tests.waiting import PATIENCE, eventually, fewer

__all__ = ["cluster"]

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.slow, pytest.mark.xdist_group("kubectl")]

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHUNK = 1 << 16


# --- Kubernetes' library


@pytest.fixture(params=[V4, ""], ids=["v4", "newest"])
def core(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[client.CoreV1Api]:
    """``newest``: what the library asks for by itself."""
    configuration = client.Configuration(host=cluster.front.url)
    with client.ApiClient(configuration) as api:
        if request.param:
            api.set_default_header("sec-websocket-protocol", request.param)
        yield client.CoreV1Api(api)


def test_a_command_of_the_library(core: client.CoreV1Api, cluster: Cluster) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; read line; echo got $line; exit 7"]
    talk = stream(
        core.connect_get_namespaced_pod_exec, "web", "default", container="main", command=command,
        stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False,
    )  # fmt: skip
    talk.write_stdin("a line\n")
    talk.run_forever(timeout=30 * PATIENCE)
    assert talk.read_stdout() == "out\ngot a line\n"
    assert talk.read_stderr() == "err\n"
    assert talk.returncode == 7
    _, target, offered = cluster.front.asked[-1]
    assert "/exec?" in target
    assert V4 in offered


def test_a_terminal_of_the_library(core: client.CoreV1Api) -> None:
    talk = stream(
        core.connect_get_namespaced_pod_exec, "web", "default", container="main", command=["sh"],
        stdin=True, stdout=True, stderr=False, tty=True, _preload_content=False,
    )  # fmt: skip
    said = ""

    def sized() -> bool:
        nonlocal said
        talk.write_channel(4, json.dumps({"Width": 133, "Height": 51}))
        talk.write_stdin("stty size\n")
        talk.update(timeout=1)
        said += talk.read_stdout(timeout=0)
        return "51 133" in said

    eventually(sized, every=0.2)
    talk.write_stdin("exit 3\n")
    talk.run_forever(timeout=30 * PATIENCE)
    assert talk.returncode == 3


def test_attaching_and_logs_of_the_library(core: client.CoreV1Api) -> None:
    line = f"from {os.urandom(8).hex()}"
    talk = stream(
        core.connect_get_namespaced_pod_attach, "web", "default", container="reader",
        stdin=True, stdout=True, stderr=True, tty=False, _preload_content=False,
    )  # fmt: skip
    talk.write_stdin(f"{line}\n")
    said = ""

    def heard() -> bool:
        nonlocal said
        said += talk.read_stdout(timeout=1)
        return f"got {line}\n" in said

    eventually(heard)
    talk.close()
    answer: Any = core.read_namespaced_pod_log(
        "web", "default", container="reader", follow=True, _preload_content=False
    )
    followed = answer.stream()
    log = b""
    while f"got {line}\n".encode() not in log:
        log += next(followed)


def test_forwarding_a_port_of_the_library(core: client.CoreV1Api) -> None:
    with serving(7100):
        forwarded = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="7100,7101")
        with contextlib.closing(forwarded.socket(7100)) as connection:
            connection.settimeout(20 * PATIENCE)
            connection.sendall(b"through")
            said = b""
            while len(said) < len(b"through"):
                said += connection.recv(100)
        assert said == b"through"
        assert "connection refused" in str(eventually(lambda: forwarded.error(7101)))


# --- by hand


@asynccontextmanager
async def dialled(cluster: Cluster, path: str, protocol: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    context = ssl.create_default_context(cadata=cluster.kubelet.certificate)
    url = f"https://127.0.0.1:{cluster.kubelet.port}{path}"
    headers = {"Authorization": f"Bearer {cluster.kubelet.token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, protocols=[protocol], headers=headers, ssl=context, max_msg_size=0) as socket,
    ):
        assert socket.protocol == protocol
        yield socket


async def test_the_fifth_version_ends_its_input(cluster: Cluster) -> None:
    path = "/exec/default/web/main?command=sha256sum&input=1&output=1&error=1"
    async with dialled(cluster, path, V5) as socket:
        assert await socket.receive_bytes() == b"\x01"
        await socket.send_bytes(b"\x00half-closed")
        await socket.send_bytes(b"\xff\x00")
        said = [message.data async for message in socket]
    digest = hashlib.sha256(b"half-closed").hexdigest().encode()
    assert said[0].startswith(b"\x01" + digest)
    assert json.loads(said[-1][1:]) == {"metadata": {}, "status": "Success"}
    assert said[-1][0] == 3


@pytest.mark.timeout(300)
@pytest.mark.parametrize("protocol", [V5, "v4.base64.channel.k8s.io"])
async def test_a_hundred_megabytes_there_and_back(cluster: Cluster, protocol: str) -> None:
    """Without an end of the input where there is none: then the command counts."""
    size = fewer(100, least=10) << 20
    data = os.urandom(1 << 20) * (size >> 20)
    path = f"/exec/default/web/main?command=head&command=-c&command={size}&input=1&output=1"
    cluster.forget_peak()
    before, back = cluster.peak(), hashlib.sha256()
    async with dialled(cluster, path, protocol) as socket, asyncio.TaskGroup() as group:

        async def send() -> None:
            for start in range(0, size, CHUNK):
                message = encode(protocol, 0, data[start : start + CHUNK])
                await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))

        group.create_task(send())
        received = 0
        async for message in socket:
            channel, piece = decode(protocol, message.data) or (1, b"")
            if channel == 1:
                received += len(piece)
                back.update(piece)
            else:
                assert json.loads(piece)["status"] == "Success"
    assert received == size
    assert back.digest() == hashlib.sha256(data).digest()
    assert cluster.peak() - before < 24 << 20


class Tunnel:
    """A connection in the messages of a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def read(self) -> bytes:
        message: Any = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.BINARY else b""

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(data)


async def test_spdy_in_a_tunnel_with_windows_that_are_kept_to(cluster: Cluster) -> None:
    """A client that keeps to the specification's flow control, which kubectl does not."""
    data = os.urandom(5 << 20)
    with serving(7200):
        async with (
            dialled(cluster, "/portForward/default/web", TUNNEL) as socket,
            asyncio.timeout(60 * PATIENCE),
            asyncio.TaskGroup() as group,
        ):
            spdy = SpdyClient(Tunnel(socket), keeps_windows=True)
            group.create_task(spdy.listen())
            pairs = []
            for number, port in enumerate((7200, 7201, 7200)):
                headers = {"port": str(port), "requestid": str(number)}
                error = await spdy.opened({"streamtype": "error", **headers})
                pairs.append((error, await spdy.opened({"streamtype": "data", **headers})))
            for _, stream_of_data in (pairs[0], pairs[2]):
                group.create_task(spdy.say(stream_of_data, data, fin=True))
            await spdy.until(lambda: all(error.ended for error, _ in pairs))
            assert pairs[0][1].data == pairs[2][1].data == data + GREETING
            assert b"connection refused" in pairs[1][0].data
            await socket.close()
