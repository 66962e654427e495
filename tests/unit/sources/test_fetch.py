"""One document from a server that may be anything."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nsrun.model.document import MAX_BYTES
from nsrun.sources import fetch
from nsrun.sources.fetch import Document, Fetcher, Unfetched, Validators
from tests.webserver import Asked, WebServer, answer, authority, redirect, web_server


@pytest.fixture
async def web() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        yield server


@pytest.fixture
async def other() -> AsyncIterator[WebServer]:
    async with web_server() as server:
        server.says("elsewhere")
        yield server


async def fetched(url: str, *headers: tuple[str, str], known: Validators | None = None) -> Document:
    document = await Fetcher(url, headers=headers).fetch(known)
    assert document is not None
    return document


async def unfetched(url: str) -> str:
    with pytest.raises(Unfetched) as caught:
        await Fetcher(url).fetch()
    return str(caught.value)


async def test_a_document_comes_with_the_headers_that_were_given(web: WebServer) -> None:
    web.says("hello")
    document = await fetched(web.url("/a?b=c"), ("X-Token", "abc"), ("X-Token", "def"))
    assert document.data == b"hello"
    assert web.asked[0].path == "/a?b=c"
    assert web.asked[0].headers["x-token"] == "def"  # the second of two lines; both were sent
    assert web.asked[0].headers["accept-encoding"] == "gzip"


async def test_a_name_and_a_password_in_the_url_are_sent_as_such(web: WebServer) -> None:
    web.says("hello")
    await fetched(web.url().replace("://", "://me:p%40ss@"))
    assert web.asked[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert "me" not in web.asked[0].headers["host"]


async def test_only_news_are_sent_when_the_server_can(web: WebServer) -> None:
    def handler(asked: Asked) -> bytes:
        if asked.headers.get("if-none-match") == '"1"' and asked.headers.get("if-modified-since") == "yesterday":
            return answer(b"", status="304 Not Modified")
        return answer(b"one", ETag='"1"', Last_Modified="yesterday")

    web.handler = handler
    document = await fetched(web.url())
    assert await Fetcher(web.url()).fetch(document.validators) is None
    # What one address said is no news about another.
    assert (await fetched(web.url("/other"), known=document.validators)).data == b"one"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(b"x", status="500 Internal Server Error"), "the server answered 500 Internal Server Error"),
        (answer(b"x", status="404 Not Found"), "the server answered 404 Not Found"),
        (answer(b"", status="204 No Content"), "the server answered 204 No Content"),
        (answer(b"", status="304 Not Modified"), "the server answered 304 Not Modified"),
        (answer(b"", status="302 Found"), "the server answered 302 Found"),
        (answer(b"", status="799 Odd"), "the server answered 799"),
        (answer(b"half", Content_Length="100"), "the answer ends too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "the answer ends too early"),
        (b"", "the server broke the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the server does not speak HTTP"),
        (answer(b"plain", Content_Encoding="gzip"), "the answer is no gzip, as it says it is"),
        (answer(gzip.compress(b"x" * 9999, mtime=0)[:-9], Content_Encoding="gzip"), "the answer ends too early"),
        (
            answer(b"x", Content_Encoding="br"),
            'the answer is in the content coding "br", which was not asked for',
        ),
        (answer(b"x" * (MAX_BYTES + 1)), "the answer is larger than 10 MiB"),
        (answer(b"x" * (MAX_BYTES + 1), packed=True), "the answer is larger than 10 MiB"),
        (answer(b"", Location="ftp://somewhere/", status="302 Found"), "it redirects to what is no web address"),
        (answer(b"", Location="file:///etc/shadow", status="302 Found"), "it redirects to what is no web address"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) and len(value) > 100 else None,
)
async def test_what_is_no_document_is_told(web: WebServer, said: bytes, why: str) -> None:
    web.handler = lambda _: said
    assert await unfetched(web.url()) == why


async def test_an_answer_can_be_packed(web: WebServer) -> None:
    web.handler = lambda _: answer(b"hello " * 1000, packed=True)
    assert (await fetched(web.url())).data == b"hello " * 1000


async def test_a_server_that_is_silent_is_not_waited_for(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "SECONDS", 0.2)
    web.handler = lambda _: None
    assert await unfetched(web.url()) == "no whole answer within 0.2 s"


async def test_a_server_that_is_not_there(web: WebServer) -> None:
    async with web_server() as gone:
        url = gone.url()
    assert await unfetched(url) == "connection refused (ECONNREFUSED)"
    assert (await unfetched("http://no-such-name.invalid/")).startswith("the server's name cannot be resolved: ")


async def test_a_redirect_is_followed_and_the_secrets_are_not_taken_along(web: WebServer, other: WebServer) -> None:
    """Nor are they given to whoever the other one sends us back to."""
    web.handler = lambda asked: redirect(other.url("/there")) if asked.path == "/pods.yaml" else answer(b"back")
    url = web.url().replace("://", "://me:secret@")
    assert (await fetched(url, ("X-Token", "abc"))).data == b"elsewhere"
    assert {"x-token", "authorization"} <= web.asked[0].headers.keys()
    assert not {"x-token", "authorization"} & other.asked[0].headers.keys()
    other.handler = lambda _: redirect(web.url("/back"))
    assert (await fetched(url, ("X-Token", "abc"))).data == b"back"
    assert not {"x-token", "authorization"} & web.asked[-1].headers.keys()


async def test_a_redirect_on_the_same_host_keeps_them(web: WebServer) -> None:
    web.handler = lambda asked: redirect("/b") if asked.path == "/a" else answer(b"here")
    assert (await fetched(web.url("/a"), ("X-Token", "abc"))).data == b"here"
    assert [asked.headers.get("x-token") for asked in web.asked] == ["abc", "abc"]


async def test_redirects_end(web: WebServer) -> None:
    web.handler = lambda asked: redirect(f"{asked.path}x")
    assert await unfetched(web.url("/a")) == "it redirects more than 8 times"
    assert len(web.asked) == 9


async def test_certificates_are_verified(tmp_path: Path, other: WebServer) -> None:
    context, certificate = authority(tmp_path)
    async with web_server(tls=context) as web:
        web.says("hello")
        assert (await unfetched(web.url())).startswith("the server's certificate cannot be verified: ")
        trusting = ssl.create_default_context(cafile=str(certificate))
        document = await Fetcher(web.url(), tls=trusting).fetch()
        assert document is not None
        assert document.data == b"hello"
        # From https nothing leads to http.
        web.handler = lambda _: redirect(other.url())
        with pytest.raises(Unfetched, match="it redirects from https to http, which is not followed"):
            await Fetcher(web.url(), tls=trusting).fetch()
        assert other.asked == []


async def test_a_server_that_does_not_speak_tls() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        assert await unfetched(f"https://127.0.0.1:{port}/") == "the server does not speak TLS"


async def test_a_proxy_is_used_but_not_for_this_machine(
    web: WebServer, other: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", other.url(""))
    monkeypatch.delenv("no_proxy", raising=False)
    web.says("direct")
    assert (await fetched(web.url())).data == b"direct"
    assert (await fetched("http://example.invalid/pods")).data == b"elsewhere"
    assert other.asked[0].path == "http://example.invalid/pods"
    monkeypatch.setenv("no_proxy", ".invalid")
    assert (await unfetched("http://example.invalid/pods")).startswith("the server's name cannot be resolved")
