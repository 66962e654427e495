"""Answers, as they arrive."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.probes.http_response import BODY_LIMIT, HEAD_LIMIT, BodyFailure, ResponseReader
from nsrun.probes.wording import ProbeFailure

OK = b"HTTP/1.1 200 OK\r\n"


def read(data: bytes, *, piece: int = 0, end: bool = True) -> ResponseReader:
    """The answer, fed in pieces of so many bytes, 0: at once."""
    reader = ResponseReader()
    step = piece or max(len(data), 1)
    for start in range(0, len(data), step):
        if reader.done:
            return reader
        reader.feed(data[start : start + step])
    if end:
        reader.end()
    return reader


@pytest.mark.parametrize("piece", [0, 1, 7])
@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (OK + b"\r\nuntil the end", 200, b"until the end"),
        (OK + b"Content-Length: 5\r\n\r\nhello, and more", 200, b"hello"),
        (OK + b"content-length:5\r\n\r\nhello", 200, b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", 200, b""),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6; x=y\r\n world\r\n0\r\n\r\n", 200, b"hello world"),
        (b"HTTP/1.0 503 Service Unavailable\nServer: x\n\nno", 503, b"no"),
        (b"HTTP/1.1 204\x20\r\n\r\nignored", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"\r\nyes", 200, b"yes"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x00\x01", 101, b""),
        (OK + b"X: folded\r\n over lines\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
        (b"HTTP/1.1 599 \xff\xfe\r\n\r\n\xff", 599, b"\xff"),
    ],
)
def test_answers(data: bytes, status: int, body: bytes, piece: int) -> None:
    reader = read(data, piece=piece)
    assert (reader.status, reader.body, reader.done) == (status, body, True)


def test_the_first_location_counts() -> None:
    reader = read(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nlocation: /b\r\n\r\n")
    assert reader.location == b"/a"


def test_no_more_of_a_body_is_read_than_counts() -> None:
    for framing in (b"\r\n", b"Content-Length: 99999999\r\n\r\n"):
        reader = ResponseReader()
        done = []
        for data in (OK + framing + b"x" * BODY_LIMIT, b"x"):
            reader.feed(data)
            done.append(reader.done)
        assert done == [False, True]
        assert reader.body == b"x" * BODY_LIMIT
    reader = read(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"ffffffff\r\n" + b"x" * 20000, end=False)
    assert reader.done
    assert reader.body == b"x" * BODY_LIMIT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "EOF"),
        (b"HTTP/1.1", "unexpected EOF"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "unexpected EOF"),
        (OK + b"X: y\r\n", "unexpected EOF"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 'malformed HTTP response "SSH-2.0-OpenSSH"'),
        (b"HTTP/1.1 abc OK\r\n\r\n", 'malformed HTTP status code "abc"'),
        (b"HTTP/1.1 99 OK\r\n\r\n", 'malformed HTTP status code "99"'),
        (b"HTTP/1.1 2000 OK\r\n\r\n", 'malformed HTTP status code "2000"'),
        (b"HTTP/x 200 OK\r\n\r\n", 'malformed HTTP version "HTTP/x"'),
        (OK + b"no colon\r\n\r\n", 'malformed MIME header line: "no colon"'),
        (OK + b": empty\r\n\r\n", "malformed MIME header line"),
        (OK + b"A : b\r\n\r\n", "malformed MIME header line"),
        (OK + b"Content-Length: -1\r\n\r\n", 'bad Content-Length "-1"'),
        (OK + b"Content-Length: 1e3\r\n\r\n", "bad Content-Length"),
        (b"HTTP/1.1 100 x\r\n\r\n" * 6, "too many 1xx informational responses"),
        (b"\x00\x1b[31m\xff\r\n\r\n", 'malformed HTTP response "\\x00\\x1b[31m\\xff"'),
    ],
)
def test_heads_that_are_none(data: bytes, message: str) -> None:
    with pytest.raises(ProbeFailure) as raised:
        read(data)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhell",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX",
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n00000000000000000000005\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
    ],
)
def test_bodies_that_break_off(body: bytes) -> None:
    for piece in (0, 1):
        with pytest.raises(BodyFailure):
            read(OK + body, piece=piece)


def test_heads_without_an_end_are_not_read_for_long() -> None:
    reader = ResponseReader()
    with pytest.raises(ProbeFailure, match=f"response headers exceeded {HEAD_LIMIT} bytes"):
        for _ in range(1000):
            reader.feed(b"X-More: " + b"y" * 1000 + b"\r\n")
    assert len(reader._buffer) < 2 * HEAD_LIMIT


@settings(deadline=None)
@given(data=st.binary(max_size=200), piece=st.integers(1, 50))
def test_any_bytes_are_an_answer_or_a_failure(data: bytes, piece: int) -> None:
    try:
        reader = read(data, piece=piece)
    except (ProbeFailure, BodyFailure):
        return
    assert 100 <= reader.status <= 999


@settings(deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    piece=st.integers(1, 400),
)
def test_chunks_in_any_pieces(chunks: list[bytes], piece: int) -> None:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    reader = read(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n", piece=piece)
    assert reader.body == b"".join(chunks)
