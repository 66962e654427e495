"""The port with TLS: its certificate, and who is let in."""

from __future__ import annotations

import asyncio
import os
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from nsrun.api.access import Access
from nsrun.api.certificates import KeyPair, keep_current, own_key_pair, server_context
from nsrun.api.connections import Connection, Upgrade
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, text
from nsrun.api.routes import Route
from nsrun.api.secure_port import secure_side
from nsrun.api.server import ServerSettings, serve
from nsrun.errors import ApiError
from nsrun.settings import SecurePort, Settings
from nsrun.support.clock import SystemClock
from nsrun.support.layout import Layout
from tests.system.api.conftest import free_port, head_of

NOW = SystemClock().now
SECONDS = 20.0
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NAMES = ("localhost", "127.0.0.1", "::1", "node-1")


def openssl(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A CA in a directory."""

    directory: Path

    def issue(self, name: str, subject: str, *, days: int = 30) -> KeyPair:
        pair = KeyPair(certificate=self.directory / f"{name}.crt", key=self.directory / f"{name}.key")
        request = self.directory / f"{name}.csr"
        openssl("req", "-new", *NEW_KEY, "-subj", subject, "-keyout", str(pair.key), "-out", str(request))
        sign = ("-CA", str(self.directory / "ca.crt"), "-CAkey", str(self.directory / "ca.key"), "-CAcreateserial")
        openssl("x509", "-req", "-in", str(request), *sign, "-days", str(days), "-out", str(pair.certificate))
        return pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    directory = tmp_path / "ca"
    directory.mkdir()
    openssl(
        "req",
        "-x509",
        *NEW_KEY,
        "-subj",
        "/CN=clients",
        "-keyout",
        str(directory / "ca.key"),
        "-out",
        str(directory / "ca.crt"),
    )
    return Authority(directory=directory)


async def handler(_request: Request) -> Response:
    return text("you are in")


ROUTES = tuple(
    Route(method="GET", path=f"/{access}", access=access, handler=handler) for access in (Access.READ, Access.EXEC)
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    layout = Layout(root=tmp_path / "root", run_dir=tmp_path / "run", log_dir=tmp_path / "log")
    layout.run_dir.mkdir()
    return Settings(manifests=None, node_name="node-1", layout=layout, secure=SecurePort(port=free_port()))


@asynccontextmanager
async def running(settings: Settings, *more: Route) -> AsyncIterator[int]:
    side = await secure_side(settings, ("10.99.0.1",), SystemClock())
    assert side is not None
    listening = ServerSettings(
        socket_path=settings.layout.socket, address="127.0.0.1", read_only_port=0, secure=side.secure
    )
    async with serve((*ROUTES, *more), listening):
        yield settings.secure.port


def trusting(certificate: Path, client: KeyPair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


async def ask(port: int, context: ssl.SSLContext, path: str = "/read", **headers: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        return head_of(await reader.readuntil(b"\r\n\r\n"))[0]
    finally:
        writer.close()


def own(settings: Settings) -> Path:
    return settings.layout.pki / "nsrun.crt"


async def test_without_anything_there_is_a_certificate_and_a_token_for_its_owner(settings: Settings) -> None:
    async with running(settings) as port:
        pki = settings.layout.pki
        assert stat.S_IMODE(os.stat(pki).st_mode) == 0o700
        assert stat.S_IMODE(os.stat(pki / "nsrun.key").st_mode) == 0o600
        assert stat.S_IMODE(os.stat(settings.layout.token).st_mode) == 0o600
        token = settings.layout.token.read_text().split(",")[0]
        assert len(token) > 40
        context = trusting(own(settings))
        assert await ask(port, context) == 401
        assert await ask(port, context, Authorization="Bearer wrong") == 401
        assert await ask(port, context, Authorization=f"Bearer {token}") == 200
        assert await ask(port, context, "/exec", Authorization=f"Bearer {token}") == 200
        assert await ask(port, context, Authorization=f"Basic {token}") == 401
    async with running(settings) as port:
        assert settings.layout.token.read_text().split(",")[0] == token, "a restart changes nothing"


async def test_the_certificate_is_for_every_name_of_the_node(settings: Settings) -> None:
    async with running(settings):
        shown = openssl("x509", "-in", str(own(settings)), "-noout", "-ext", "subjectAltName")
    assert {entry.strip() for entry in shown.splitlines()[1].split(",")} == {
        *("DNS:localhost", "DNS:node-1", "IP Address:127.0.0.1", "IP Address:10.99.0.1"),
        "IP Address:0:0:0:0:0:0:0:1",
    }


async def test_an_upgraded_connection_carries_bytes_both_ways(settings: Settings) -> None:
    async def echo(connection: Connection) -> None:
        while data := await connection.read():
            await connection.write(data)

    async def upgrade(_request: Request) -> Answer:
        return Upgrade(protocol="SPDY/3.1", run=echo)

    route = Route(method="POST", path="/upgrade", access=Access.EXEC, handler=upgrade)
    whole = os.urandom(1 << 20) * 16
    async with running(settings, route) as port, asyncio.timeout(SECONDS):
        token = settings.layout.token.read_text().split(",")[0]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(own(settings)))
        head = f"POST /upgrade HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"{head}Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n".encode() + whole)
        assert head_of(await reader.readuntil(b"\r\n\r\n"))[0] == 101
        assert await reader.readexactly(len(whole)) == whole
        writer.close()


async def test_old_protocols_are_not_spoken(settings: Settings) -> None:
    async with running(settings) as port:
        context = trusting(own(settings))
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1"):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await ask(port, context)


async def test_plain_http_is_not_answered_there(settings: Settings) -> None:
    async with running(settings) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /read HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()


async def test_client_certificates(settings: Settings, authority: Authority, tmp_path: Path) -> None:
    settings = replace(settings, secure=replace(settings.secure, client_ca=authority.directory / "ca.crt"))
    master = authority.issue("master", "/CN=apiserver/O=system:masters")
    monitor = authority.issue("monitor", "/CN=prometheus/O=other/O=system:monitoring")
    nameless = authority.issue("nameless", "/O=system:masters")
    expired = authority.issue("expired", "/CN=late/O=system:masters", days=-1)
    other = tmp_path / "other"
    other.mkdir()
    files = ("-keyout", str(other / "ca.key"), "-out", str(other / "ca.crt"))
    openssl("req", "-x509", *NEW_KEY, "-subj", "/CN=liar/O=system:masters", *files)
    async with running(settings) as port:
        assert not settings.layout.token.exists()
        answers = {}
        for pair in (None, master, monitor, nameless):
            context = trusting(own(settings), pair)
            name = pair.key.stem if pair is not None else "nobody"
            answers[name] = (await ask(port, context), await ask(port, context, "/exec"))
        assert answers == {
            "nobody": (401, 401),
            "master": (200, 200),
            "monitor": (200, 403),
            "nameless": (401, 401),
        }
        for stranger in (expired, KeyPair(certificate=other / "ca.crt", key=other / "ca.key")):
            with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                await ask(port, trusting(own(settings), stranger))


async def test_a_token_file_counts_at_once_when_it_changes(settings: Settings, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('abc,ann,1,"system:monitoring,other"\n')
    settings = replace(settings, secure=replace(settings.secure, tokens=tokens))
    async with running(settings) as port:
        context = trusting(own(settings))
        assert await ask(port, context, Authorization="Bearer abc") == 200
        assert await ask(port, context, "/exec", Authorization="Bearer abc") == 403
        tokens.write_text("xyz,bob,2,system:masters\n")
        assert await ask(port, context, "/exec", Authorization="Bearer xyz") == 200
        assert await ask(port, context, Authorization="Bearer abc") == 401
        tokens.write_text("broken\n")
        assert await ask(port, context, "/exec", Authorization="Bearer xyz") == 200, (
            "what cannot be read changes nothing"
        )


async def test_everybody_may_read_where_that_is_wanted(settings: Settings) -> None:
    settings = replace(settings, secure=replace(settings.secure, anonymous=True))
    async with running(settings) as port:
        context = trusting(own(settings))
        assert await ask(port, context) == 200
        assert await ask(port, context, "/exec") == 403
        assert await ask(port, context, Authorization="Bearer wrong") == 401


async def test_a_given_certificate(settings: Settings, authority: Authority) -> None:
    pair = authority.issue("server", "/CN=127.0.0.1")
    settings = replace(settings, secure=replace(settings.secure, certificate=pair.certificate, key=pair.key))
    async with running(settings) as port:
        assert not own(settings).exists()
        context = trusting(authority.directory / "ca.crt")
        context.check_hostname = False
        assert await ask(port, context) == 401


async def test_nothing_of_the_secure_side_without_a_port(settings: Settings) -> None:
    settings = replace(settings, secure=SecurePort(port=0))
    assert await secure_side(settings, (), SystemClock()) is None
    assert not settings.layout.pki.exists()


# --- the pair itself


async def test_an_own_pair_is_kept_while_it_is_good(tmp_path: Path) -> None:
    pair = own_key_pair(tmp_path / "pki", NAMES)
    await server_context(pair, None, now=NOW())
    first = pair.certificate.read_text()
    await server_context(pair, None, now=NOW())
    assert pair.certificate.read_text() == first


@pytest.mark.parametrize("spoilt", ["names", "expiry", "future", "key", "garbage", "gone"])
async def test_an_own_pair_is_made_anew(tmp_path: Path, spoilt: str) -> None:
    pair = own_key_pair(tmp_path / "pki", NAMES)
    await server_context(pair, None, now=NOW())
    first, now = pair.certificate.read_text(), NOW()
    match spoilt:
        case "names":
            pair = own_key_pair(tmp_path / "pki", (*NAMES, "10.0.0.7"))
        case "expiry":
            now += 340 * 86400
        case "future":
            now -= 86400
        case "key":
            other = own_key_pair(tmp_path / "other", NAMES)
            await server_context(other, None, now=NOW())
            pair.key.write_text(other.key.read_text())
        case "garbage":
            pair.certificate.write_text("garbage")
        case "gone":
            pair.key.unlink()
    await server_context(pair, None, now=now)
    assert pair.certificate.read_text() != first


def test_names_that_are_none_are_left_out(tmp_path: Path) -> None:
    pair = own_key_pair(tmp_path, ("Node-1", "10.0.0.1", "a,IP:1.2.3.4", "x\n[v3]", "", "*"))
    assert pair.names == {"node-1", "10.0.0.1"}


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [("nowhere", "nowhere", "no such file"), ("junk", "junk", "cannot use"), ("server.crt", "other.key", "mismatch")],
)
async def test_a_pair_that_cannot_be_used(authority: Authority, certificate: str, key: str, said: str) -> None:
    authority.issue("server", "/CN=a")
    authority.issue("other", "/CN=b")
    (authority.directory / "junk").write_text("junk")
    pair = KeyPair(certificate=authority.directory / certificate, key=authority.directory / key)
    with pytest.raises(ApiError, match=said):
        await server_context(pair, None, now=NOW())


async def test_an_encrypted_key_is_said_not_asked_for(authority: Authority) -> None:
    pair = authority.issue("server", "/CN=a")
    openssl("ec", "-in", str(pair.key), "-aes128", "-passout", "pass:secret", "-out", str(pair.key))
    with pytest.raises(ApiError, match="the key is encrypted"):
        await server_context(pair, None, now=NOW())


async def test_a_ca_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("junk")
    with pytest.raises(ApiError, match="cannot use"):
        await server_context(own_key_pair(tmp_path / "pki", NAMES), tmp_path / "ca", now=NOW())


async def test_no_openssl_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ApiError, match="cannot make a certificate for the API: openssl: no such file") as told:
        await server_context(own_key_pair(tmp_path / "pki", NAMES), None, now=NOW())
    assert "--port 0" in (told.value.hint or "")


class HourGlass:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.time = NOW()
        self.turns: asyncio.Queue[float] = asyncio.Queue()
        self.waiting = asyncio.Event()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.waiting.set()
        self.time += await self.turns.get()

    async def turn(self, seconds: float) -> None:
        """Lets time pass; returns when all that is due is done."""
        await self.waiting.wait()
        self.waiting.clear()
        self.turns.put_nowait(seconds)
        await self.waiting.wait()


async def test_a_pair_that_changes_is_shown_to_whoever_connects_next(tmp_path: Path) -> None:
    clock, pair = HourGlass(), own_key_pair(tmp_path / "pki", NAMES)
    context = await server_context(pair, None, now=clock.now())
    first = pair.certificate.read_text()
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.TaskGroup() as group:
        keeper = group.create_task(keep_current(context, pair, clock))
        await clock.turn(3600)
        assert await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) == first
        await clock.turn(350 * 86400)
        assert pair.certificate.read_text() != first
        assert await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port)) == pair.certificate.read_text()
        keeper.cancel()


async def test_a_given_pair_that_breaks_stays_as_it_was(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    clock, pair = HourGlass(), authority.issue("server", "/CN=a")
    context = await server_context(pair, None, now=clock.now())
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(keep_current(context, pair, clock))
        await clock.waiting.wait()
        pair.certificate.write_text("junk")
        await clock.turn(3600)
        assert "The API goes on with the certificate it has" in caplog.text
        keeper.cancel()
