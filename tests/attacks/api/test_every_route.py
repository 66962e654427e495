"""Every route of the daemon, and everybody who might call it: what is answered stands in a table.

Whoever adds a route adds a row. The machine has no pods: what is let in finds nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import pytest
import yaml

from nsrun import daemon
from nsrun.api.access import Access
from nsrun.api.limits import Limits
from nsrun.api.routes import Route
from nsrun.api.secure_port import secure_side
from nsrun.api.server import ServerSettings, serve
from nsrun.settings import SecurePort, Settings
from nsrun.sources.requested import RequestedPods
from nsrun.support.clock import SystemClock
from nsrun.support.layout import Layout
from tests.system.api.conftest import free_port, head_of

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

LIMITS = Limits(handshake=2.0, head=0.5, request=0.5)
SECONDS = 20.0
REPO = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """``path``: of the route, and ``asked``: with its parts filled in. ``let_in``: what whoever may come in is told."""

    method: str
    path: str
    access: Access
    let_in: int

    @property
    def asked(self) -> str:
        return re.sub(r"\{\w+(:\.\*)?\}", "nothing", self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


POD = "{namespace}/{pod}"
CONTAINER = POD + "/{container}"
NAMED = POD + "/{uid}/{container}"
OWN = "/nsrun/pods/{namespace}/{name}"

ROWS = tuple(
    Row(method=method, path=path, access=access, let_in=let_in)
    for method, path, access, let_in in (
        ("GET", "/healthz", Access.READ, 200),
        ("GET", "/healthz/ping", Access.READ, 200),
        ("GET", "/healthz/log", Access.READ, 200),
        ("GET", "/healthz/syncloop", Access.READ, 200),
        ("GET", "/pods", Access.READ, 200),
        ("GET", "/runningpods/", Access.READ, 200),
        ("GET", f"/containerLogs/{CONTAINER}", Access.LOGS, 404),
        ("GET", "/logs", Access.LOGS, 301),
        ("GET", "/logs/{path:.*}", Access.LOGS, 404),
        ("POST", f"/run/{CONTAINER}", Access.EXEC, 404),
        ("POST", f"/run/{NAMED}", Access.EXEC, 404),
        *(
            (method, f"/{verb}/{place}", Access.EXEC, 404)
            for verb in ("exec", "attach")
            for place in (CONTAINER, NAMED)
            for method in ("GET", "POST")
        ),
        *(
            (method, f"/portForward/{place}", Access.EXEC, 404)
            for place in (POD, POD + "/{uid}")
            for method in ("GET", "POST")
        ),
        ("POST", f"/checkpoint/{CONTAINER}", Access.EXEC, 404),
        ("GET", "/configz", Access.CONFIG, 200),
        ("GET", "/nsrun/info", Access.CONTROL, 200),
        ("POST", "/nsrun/down", Access.CONTROL, 202),
        ("GET", "/nsrun/pods", Access.CONTROL, 200),
        ("POST", "/nsrun/pods", Access.CONTROL, 422),
        ("GET", "/nsrun/events", Access.CONTROL, 200),
        ("GET", OWN, Access.CONTROL, 404),
        ("DELETE", OWN, Access.CONTROL, 404),
        ("POST", OWN + "/signal", Access.CONTROL, 404),
        *(
            ("POST", f"/nsrun/pods/{POD}{place}/{verb}", Access.CONTROL, 404)
            for place in ("", "/containers/{name}")
            for verb in ("stop", "start", "restart")
        ),
        *((method, "/stats/summary", Access.READ, 200) for method in ("GET", "POST")),
        *(("GET", f"/metrics{part}", Access.READ, 200) for part in ("", "/cadvisor", "/resource", "/probes")),
        ("GET", "/spec/", Access.READ, 200),
        ("GET", "/nsrun/usage", Access.CONTROL, 200),
    )
)


class Who(Enum):
    """Where somebody comes in, and what it shows."""

    SOCKET = auto()
    READ_ONLY = auto()
    NOBODY = auto()
    LIAR = auto()
    STRANGER = auto()
    MONITOR = auto()
    MASTER = auto()


LET_IN = None
EXPECTED: dict[Who, dict[Access, int | None]] = {
    Who.SOCKET: dict.fromkeys(Access, LET_IN),
    Who.READ_ONLY: {**dict.fromkeys(Access, 405), Access.READ: LET_IN, Access.CONTROL: 403},
    Who.NOBODY: dict.fromkeys(Access, 401),
    Who.LIAR: dict.fromkeys(Access, 401),
    Who.STRANGER: dict.fromkeys(Access, 403),
    Who.MONITOR: {**dict.fromkeys(Access, 403), Access.READ: LET_IN},
    Who.MASTER: {**dict.fromkeys(Access, LET_IN), Access.CONTROL: 403},
}
TOKENS = {Who.LIAR: "wrong", Who.STRANGER: "stranger", Who.MONITOR: "monitor", Who.MASTER: "master"}
TOKEN_FILE = 'stranger,carl,1,developers\nmonitor,prom,2,"system:monitoring"\nmaster,ann,3,"other,system:masters"\n'


def expected(row: Row, who: Who) -> int:
    told = EXPECTED[who][row.access]
    return row.let_in if told is LET_IN else told


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A server with every route of the daemon, on loopback."""

    routes: tuple[Route, ...]
    settings: Settings
    trusting: ssl.SSLContext

    @contextlib.asynccontextmanager
    async def dial(self, who: Who) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if who is Who.SOCKET:
            reader, writer = await asyncio.open_unix_connection(self.settings.layout.socket)
        elif who is Who.READ_ONLY:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.settings.read_only_port)
        else:
            port = self.settings.secure.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self.trusting)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def ask(
        self, who: Who, method: str, target: str, *headers: str, body: bytes = b"", host: str = "localhost"
    ) -> int:
        """The status; 0 when the connection was just closed."""
        async with asyncio.timeout(SECONDS), self.dial(who) as (reader, writer):
            writer.write(head(who, method, target, *headers, host=host) + body)
            try:
                return head_of(await reader.readuntil(b"\r\n\r\n"))[0]
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0


def head(who: Who, method: str, target: str, *headers: str, host: str = "localhost") -> bytes:
    shown = (f"Authorization: Bearer {TOKENS[who]}",) if who in TOKENS else ()
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {host}", *shown, *headers, "", ""]).encode()


@pytest.fixture
async def world(tmp_path: Path, cgroup_root: str) -> AsyncIterator[World]:
    layout = Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")
    for directory in (layout.root, layout.run_dir, layout.log_dir):
        directory.mkdir()
    (tmp_path / "tokens.csv").write_text(TOKEN_FILE)
    settings = Settings(
        manifests=None,
        node_name="node-1",
        layout=layout,
        cgroup_root=cgroup_root,
        read_only_port=free_port(),
        secure=SecurePort(port=free_port(), tokens=tmp_path / "tokens.csv"),
    )
    requested = RequestedPods(layout.requested, node_name="node-1", boot_id="boot")
    parts = daemon.build(settings, requested)
    routes = daemon.api_routes(settings, parts, requested, down=lambda _grace: None)
    side = await secure_side(settings, (), SystemClock())
    assert side is not None
    listening = ServerSettings(
        socket_path=layout.socket,
        address="127.0.0.1",
        read_only_port=settings.read_only_port,
        secure=side.secure,
        host_names=("node-1",),
        limits=LIMITS,
    )
    trusting = ssl.create_default_context(cafile=layout.pki / "nsrun.crt")
    async with parts.images, serve(routes, listening):
        yield World(routes=routes, settings=settings, trusting=trusting)


async def test_every_route_has_its_row(world: World) -> None:
    there = [(route.method, route.path, route.access) for route in world.routes]
    assert sorted(there) == sorted((row.method, row.path, row.access) for row in ROWS)
    assert len(set(there)) == len(there)


async def test_every_route_is_described(world: World) -> None:
    described = yaml.safe_load((REPO / "docs" / "openapi.yaml").read_text())["paths"]
    there = {(route.method, route.path.replace(":.*}", "}"), str(route.access)) for route in world.routes}
    assert there == {
        (method.upper(), path, operation["x-nsrun-access"])
        for path, operations in described.items()
        for method, operation in operations.items()
    }
    names = {path: set(re.findall(r"\{(\w+)\}", path)) for path in described}
    for path, operations in described.items():
        for method, operation in operations.items():
            references = {
                entry["$ref"].rpartition("/")[2] for entry in operation.get("parameters", ()) if "$ref" in entry
            }
            assert references == names[path], (method, path)


async def test_who_may_what(world: World) -> None:
    wrong = {}
    for row in ROWS:
        for who in Who:
            told = await world.ask(who, row.method, row.asked, "Content-Length: 0")
            if told != expected(row, who):
                wrong[f"{row} as {who.name}"] = f"{told}, not {expected(row, who)}"
    assert wrong == {}


async def test_an_upgrade_makes_nobody_more_than_it_is(world: World) -> None:
    """A GET that becomes a command needs what a POST needs (kubernetes#136550)."""
    handshake = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    for upgrade in ("websocket", "SPDY/3.1"):
        headers = ("Connection: Upgrade", f"Upgrade: {upgrade}", "X-Stream-Protocol-Version: v4.channel.k8s.io")
        for who in (Who.NOBODY, Who.LIAR, Who.STRANGER, Who.MONITOR, Who.READ_ONLY):
            for row in (row for row in ROWS if row.access is Access.EXEC):
                target = f"{row.asked}?command=id&output=1&port=80"
                told = await world.ask(who, row.method, target, *headers, *handshake)
                assert told == expected(row, who), (row, who)


EVIL_ORIGINS = ("https://evil.example", "null", "http://localhost:10255")
EVIL_HOSTS = ("evil.example", "evil.example:10250", "127.0.0.1.evil.example", "")


@pytest.mark.parametrize("who", [Who.SOCKET, Who.READ_ONLY, Who.NOBODY, Who.MASTER], ids=lambda who: who.name.lower())
async def test_web_pages_are_kept_out(world: World, who: Who) -> None:
    """A token is nothing that a browser adds by itself: with one, an API server passes its client's Origin on. No name
    leads a browser to the socket, where clients make one up."""
    for row in ROWS:
        for origin in EVIL_ORIGINS:
            told = expected(row, who) if who is Who.MASTER else 403
            assert await world.ask(who, row.method, row.asked, f"Origin: {origin}") == told, (row, origin)
        for host in EVIL_HOSTS:
            told = expected(row, who) if who is Who.SOCKET else 403
            assert await world.ask(who, row.method, row.asked, host=host) == told, (row, host)


HOSTILE_PARTS = (
    "..",
    "%2e%2e",
    "..%2f..%2f..%2fetc%2fpasswd",
    "nothing%00",
    "%ff%fe",
    "a" * 5000,
    "%0d%0aX-Evil:%201",
    "*",
)


async def test_no_part_of_a_path_leads_anywhere(world: World) -> None:
    (world.settings.layout.log_dir.parent / "secret").write_text("secret")
    for row in ROWS:
        for part in re.findall(r"\{\w+(?::\.\*)?\}", row.path):
            for hostile in HOSTILE_PARTS:
                target = re.sub(r"\{\w+(:\.\*)?\}", "nothing", row.path.replace(part, hostile))
                told = await world.ask(Who.SOCKET, row.method, target)
                assert told in (400, 404, row.let_in), (row, target)
                assert told != 200, (row, target)


async def test_log_files_end_at_their_directory(world: World) -> None:
    log_dir = world.settings.layout.log_dir
    secret = log_dir.parent / "secret"
    secret.write_text("secret")
    (log_dir / "fine").write_text("fine")
    (log_dir / "inside").symlink_to("fine")
    (log_dir / "absolute").symlink_to(secret)
    (log_dir / "relative").symlink_to("../secret")
    (log_dir / "directory").symlink_to("..")
    (log_dir / "magic").symlink_to("/proc/self/root/etc/passwd")
    os.mkfifo(log_dir / "fifo")
    answers = {
        **dict.fromkeys(("fine", "inside", "./fine"), 200),
        **dict.fromkeys(
            ("absolute", "relative", "directory/secret", "magic", "fifo", "../secret", "%2e%2e/secret"), 404
        ),
        **dict.fromkeys(("..%2fsecret", "/etc/passwd", "//etc/passwd", "fine/", "fine%00"), 404),
    }
    answers["fine/"] = 200
    for path, status in answers.items():
        assert await world.ask(Who.MASTER, "GET", f"/logs/{path}") == status, path


async def test_large_bodies_are_not_taken(world: World) -> None:
    for row in ROWS:
        for who, told in ((Who.SOCKET, 413), (Who.NOBODY, 401)):
            assert await world.ask(who, row.method, row.asked, f"Content-Length: {1 << 40}") == told, row
    chunks = b"".join(b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(20))
    assert await world.ask(Who.SOCKET, "POST", "/nsrun/down", "Transfer-Encoding: chunked", body=chunks) == 413


async def test_slow_clients_are_not_waited_for(world: World) -> None:
    """All at once: each gets its limit, and none holds up another."""

    async def slow_body(row: Row) -> int:
        return await world.ask(Who.SOCKET, row.method, row.asked, "Content-Length: 10", body=b"x")

    async def slow_head(who: Who) -> int:
        async with world.dial(who) as (reader, writer):
            writer.write(b"GET /pods HTTP/1.1\r\nHost: lo")
            with contextlib.suppress(ConnectionError):
                return len(await reader.read())
            return 0

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        bodies = {row: group.create_task(slow_body(row)) for row in ROWS}
        heads = [
            group.create_task(slow_head(who)) for who in (Who.SOCKET, Who.READ_ONLY, Who.NOBODY) for _ in range(20)
        ]
        quick = group.create_task(world.ask(Who.READ_ONLY, "GET", "/pods"))
    assert {row: task.result() for row, task in bodies.items() if task.result() != 408} == {}
    assert {task.result() for task in heads} == {0}
    assert quick.result() == 200


async def test_who_says_nothing_in_tls_is_cut_off(world: World) -> None:
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.settings.secure.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


async def test_what_is_no_route(world: World) -> None:
    for who, told in (
        (Who.SOCKET, 404),
        (Who.READ_ONLY, 404),
        (Who.NOBODY, 401),
        (Who.STRANGER, 403),
        (Who.MASTER, 404),
    ):
        for target in ("/", "/nothing", "/pods/x/y", "//pods", "/%70ods/x"):
            assert await world.ask(who, "GET", target) == told, target
    for who, told in ((Who.SOCKET, 405), (Who.READ_ONLY, 405), (Who.NOBODY, 401)):
        assert await world.ask(who, "PUT", "/pods") == told
    assert await world.ask(Who.READ_ONLY, "GET", "/debug/pprof/heap") == 405


POST = b"POST /pods HTTP/1.1\r\nHost: localhost\r\n"
NO_REQUESTS = {
    "field": b"GET /pods HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    "line": b"GET /" + b"p" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "fields": b"GET /pods HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "lengths that differ": POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "two hosts": b"GET /pods HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "bare newlines": b"GET /pods HTTP/1.1\nHost: localhost\n\n" * 3 + b"\x16\x03\x01\x02\x00\x01",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


async def test_what_is_no_request_is_refused(world: World) -> None:
    for name, sent in NO_REQUESTS.items():
        async with asyncio.timeout(SECONDS), world.dial(Who.READ_ONLY) as (reader, writer):
            writer.write(sent)
            received = b""
            with contextlib.suppress(ConnectionError):
                received = await reader.read()
            assert received == b"" or head_of(received)[0] in (400, 403, 405), name
        assert await world.ask(Who.READ_ONLY, "GET", "/pods") == 200, "and the next one is served"


async def test_requests_in_one_go_are_answered_in_their_order(world: World) -> None:
    async with asyncio.timeout(SECONDS), world.dial(Who.READ_ONLY) as (reader, writer):
        plain, last = (
            head(Who.READ_ONLY, "GET", "/healthz"),
            head(Who.READ_ONLY, "GET", "/nothing", "Connection: close"),
        )
        writer.write(plain * 200 + last)
        received = await reader.read()
        assert received.count(b"HTTP/1.1 200 OK") == 200
        assert received.count(b"HTTP/1.1 404 ") == 1
        assert received.rindex(b"HTTP/1.1 404 ") > received.rindex(b"HTTP/1.1 200 OK")
