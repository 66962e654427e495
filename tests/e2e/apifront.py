"""As much of an API server as kubectl and the clients of other languages need to reach one node's pods.

It answers for discovery and for pods out of the kubelet's own list, and proxies the subresources that are streams as
kube-apiserver does: to the kubelet's secure port, with a token of its own instead of the client's credentials, the
parameters renamed, and from the 101 on the bytes as they come.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.waiting import PATIENCE

__all__ = ["ApiFront", "Kubelet", "api_front"]

_POD = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods(?:/(?P<pod>[^/]+)(?:/(?P<subresource>\w+))?)?")
_SUBRESOURCES = {"exec": "exec", "attach": "attach", "portforward": "portForward", "log": "containerLogs"}
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Kubelet:
    """Where it listens, and what opens it. ``certificate``: PEM of what its own has to be."""

    port: int
    token: str
    certificate: str
    host: str = "127.0.0.1"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cadata=self.certificate)
        context.check_hostname = False
        return await asyncio.open_connection(self.host, self.port, ssl=context, limit=_CHUNK)


@dataclass(kw_only=True)
class ApiFront:
    """``url``: for kubectl's --server. ``asked``: method, path and offered protocols of everything that was proxied."""

    url: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Head:
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        return ",".join(value for key, value in self.headers if key.lower() == name)


@contextlib.contextmanager
def api_front(kubelet: Kubelet) -> Iterator[ApiFront]:
    """Serves on a port of its own, over plain HTTP, until the block is left."""
    front, loop = ApiFront(), asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _answer(front, kubelet, reader, writer)
            writer.close()

        server = await asyncio.start_server(client, "127.0.0.1", 0, limit=_CHUNK)
        front.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    started.wait(20 * PATIENCE)
    try:
        yield front
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _answer(
    front: ApiFront, kubelet: Kubelet, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    head = await _read_head(reader)
    path = urlsplit(head.target).path
    found = _POD.fullmatch(path)
    if found is not None and found["subresource"] is not None:
        front.asked.append((head.method, head.target, head.header("sec-websocket-protocol")))
        await _proxy(kubelet, head, found, reader, writer)
        return
    document = await _pods(kubelet, found) if found is not None else _DISCOVERY.get(path)
    status = "200 OK" if document is not None else "404 Not Found"
    body = json.dumps(document if document is not None else _missing(path)).encode()
    writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n".encode())
    writer.write(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines if line)
    return _Head(method=method, target=target, headers=tuple((name, value.strip()) for name, _, value in pairs))


async def _proxy(
    kubelet: Kubelet, head: _Head, found: re.Match[str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The whole connection is the kubelet's from now on: what either sends is passed on, until one of them ends."""
    target = await _kubelets_target(kubelet, head, found)
    there_reader, there_writer = await kubelet.connect()
    replaced = {"host", "authorization"} | ({"connection"} if not head.header("upgrade") else set())
    kept = [(name, value) for name, value in head.headers if name.lower() not in replaced]
    kept += [("Host", f"{kubelet.host}:{kubelet.port}"), ("Authorization", f"Bearer {kubelet.token}")]
    if not head.header("upgrade"):
        kept.append(("Connection", "close"))
    lines = [f"{head.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept)]
    there_writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    ways = [
        asyncio.ensure_future(_pass_on(reader, there_writer)),
        asyncio.ensure_future(_pass_on(there_reader, writer)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        there_writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()


async def _kubelets_target(kubelet: Kubelet, head: _Head, found: re.Match[str]) -> str:
    query = parse_qsl(urlsplit(head.target).query, keep_blank_values=True)
    container = next((value for name, value in query if name == "container" and value), None)
    kept = [(name, value) for name, value in query if name != "container"]
    place = f"/{_SUBRESOURCES[found['subresource']]}/{found['namespace']}/{found['pod']}"
    if found["subresource"] == "portforward":
        return f"{place}?{urlencode([('port', value) for name, value in kept if name == 'ports'])}"
    if container is None:
        container = await _first_container(kubelet, found)
    if found["subresource"] in ("exec", "attach"):
        kept = [
            (_STREAMS.get(name, name), "1" if name in _STREAMS else value) for name, value in kept if value != "false"
        ]
    return f"{place}/{container}?{urlencode(kept)}"


async def _first_container(kubelet: Kubelet, found: re.Match[str]) -> str:
    pod = await _pods(kubelet, found)
    assert pod is not None
    spec = pod["spec"]
    assert isinstance(spec, dict)
    return str(spec["containers"][0]["name"])


async def _pods(kubelet: Kubelet, found: re.Match[str]) -> dict[str, object] | None:
    """The pod, or the list of them; None when there is no such pod."""
    reader, writer = await kubelet.connect()
    try:
        writer.write(
            f"GET /pods HTTP/1.1\r\nHost: {kubelet.host}\r\nAuthorization: Bearer {kubelet.token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.split(b"\r\n")[0], head
        listed = json.loads(await reader.read(-1))
    finally:
        writer.close()
    items = [pod for pod in listed["items"] or [] if pod["metadata"]["namespace"] == found["namespace"]]
    if found["pod"] is None:
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}
    named = [pod for pod in items if pod["metadata"]["name"] == found["pod"]]
    return {"kind": "Pod", "apiVersion": "v1", **named[0]} if named else None


def _missing(path: str) -> dict[str, object]:
    message = f'pods "{path.rpartition("/")[2]}" not found'
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": "NotFound",
        "code": 404,
        "message": message,
    }


_DISCOVERY: dict[str, object] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0", "platform": "linux/amd64"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {"name": "pods", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]},
            *(
                {
                    "name": f"pods/{name}",
                    "singularName": "",
                    "namespaced": True,
                    "kind": "Pod",
                    "verbs": ["get", "create"],
                }
                for name in _SUBRESOURCES
            ),
        ],
    },
}
