"""What is sent to a pod, and where redirects lead."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.model.probe import HttpGet, Scheme
from nsrun.probes.http_request import Request, redirected, request_of
from nsrun.probes.wording import ProbeFailure

AGENT = "kube-probe/1.36"


def request(action: HttpGet, address: str = "10.88.0.5") -> Request:
    return request_of(action, address, AGENT)


def lines(action: HttpGet, address: str = "10.88.0.5") -> list[str]:
    return request(action, address).encoded().decode().split("\r\n")


def test_a_plain_request() -> None:
    assert lines(HttpGet(port=80)) == [
        "GET / HTTP/1.1",
        "Host: 10.88.0.5:80",
        "User-Agent: kube-probe/1.36",
        "Accept: */*",
        "Connection: close",
        "",
        "",
    ]


def test_the_url_names_what_is_asked() -> None:
    assert request(HttpGet(port=8443, path="/x?y=1", scheme=Scheme.HTTPS)).url == "https://10.88.0.5:8443/x?y=1"
    assert request(HttpGet(port=80, host="web.example")).url == "http://web.example:80/"
    assert request(HttpGet(port=80), "fd00::1").url == "http://[fd00::1]:80/"


def test_headers_take_the_place_of_ours() -> None:
    headers = (("user-agent", "me"), ("ACCEPT", "text/plain"), ("host", "web.example"), ("x-a", "1"), ("X-A", " 2 "))
    assert lines(HttpGet(port=80, headers=headers)) == [
        "GET / HTTP/1.1",
        "Host: web.example",
        "User-Agent: me",
        "Accept: text/plain",
        "X-A: 1",
        "X-A: 2",
        "Connection: close",
        "",
        "",
    ]


def test_empty_headers_take_ours_away() -> None:
    sent = lines(HttpGet(port=80, headers=(("Accept", ""), ("User-Agent", ""))))
    assert sent == ["GET / HTTP/1.1", "Host: 10.88.0.5:80", "Connection: close", "", ""]


def test_what_http_writes_itself_is_not_taken_from_headers() -> None:
    headers = (("Content-Length", "5"), ("transfer-encoding", "chunked"), ("Trailer", "X"))
    assert not [line for line in lines(HttpGet(port=80, headers=headers)) if line.startswith(("Content", "T"))]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ((("X A", "1"),), 'net/http: invalid header field name "X A"'),
        ((("", "1"),), 'net/http: invalid header field name ""'),
        ((("X\r\nY", "1"),), 'net/http: invalid header field name "X\\r\\nY"'),
        ((("X-A", "1\r\nX-B: 2"),), 'net/http: invalid header field value for "X-A"'),
        ((("Host", "a\r\nX-B: 2"),), 'net/http: invalid header field value for "Host"'),
    ],
)
def test_headers_that_would_be_others(headers: tuple[tuple[str, str], ...], message: str) -> None:
    with pytest.raises(ProbeFailure) as raised:
        lines(HttpGet(port=80, headers=headers))
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("healthz", "/healthz"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/a%zz", "/a%25zz"),
        ("/x?a=b c&d=%41", "/x?a=b%20c&d=%41"),
        ("/x#part", "/x"),
        ("/x?", "/x?"),
        ("/ü", "/%C3%BC"),
        ("/a\r\nHost: b", "/a%0D%0AHost:%20b"),
        ("//other.example/x", "/x"),
        ("http://other.example/x?y", "/x?y"),
        ("http://[broken", "/http://[broken"),
    ],
)
def test_paths(path: str, target: str) -> None:
    assert request(HttpGet(port=80, path=path)).target == target


@settings(deadline=None)
@given(path=st.text(max_size=50), name=st.text(max_size=10), value=st.text(max_size=20))
def test_whatever_a_manifest_says_one_request_is_sent(path: str, name: str, value: str) -> None:
    try:
        sent = request(HttpGet(port=80, path=path, headers=((name, value),))).encoded()
    except ProbeFailure:
        return
    head, end, rest = sent.partition(b"\r\n\r\n")
    assert (end, rest) == (b"\r\n\r\n", b"")
    rows = head.split(b"\r\n")
    assert rows[0].startswith(b"GET /")
    assert rows[0].count(b" ") == 2
    assert not any(b"\n" in row or b"\r" in row for row in rows)
    assert len(rows) <= 6


def test_redirects_on_the_same_host_are_followed() -> None:
    first = request(HttpGet(port=80, headers=(("Host", "web.example"), ("X-A", "1"))))
    second = redirected(first, b"/login?next=%2F#top")
    assert second is not None
    assert second.url == "http://10.88.0.5:80/login?next=%2F"
    assert second.host_header == "web.example"
    assert ("X-A", "1") in second.headers
    assert ("Referer", "http://10.88.0.5:80/") in second.headers
    third = redirected(second, b"https://10.88.0.5/secure")
    assert third is not None
    assert (third.url, third.port, third.host_header) == ("https://10.88.0.5/secure", 443, "")
    assert [value for name, value in third.headers if name == "Referer"] == [second.url]
    fourth = redirected(third, b"http://10.88.0.5:8080")
    assert fourth is not None
    assert (fourth.url, fourth.port) == ("http://10.88.0.5:8080/", 8080)
    assert "Referer" not in dict(fourth.headers)


def test_relative_redirects() -> None:
    first = request(HttpGet(port=80, path="/a/b"))
    for location, target in ((b"c", "/a/c"), (b"../c", "/c"), (b"?q", "/a/b?q"), (b"//10.88.0.5:80/z", "/z")):
        following = redirected(first, location)
        assert following is not None
        assert following.target == target


def test_redirects_to_other_hosts_are_not() -> None:
    first = request(HttpGet(port=80))
    for location in (
        b"http://example.org/",
        b"http://10.88.0.6/",
        b"//other/",
        b"http://10.88.0.5.example/",
        b"mailto:x",
    ):
        assert redirected(first, location) is None
    named = request(HttpGet(port=80, host="web.example"))
    assert redirected(named, b"http://user@web.example/") is not None
    assert redirected(named, b"http://WEB.example/") is None
    assert redirected(named, b"http://web.example@evil.example/") is None


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (b"http://10.88.0.5:99999/", "failed to parse Location header"),
        (b"http://10.88.0.5:x/", "failed to parse Location header"),
        (b"http://[10.88.0.5/", "failed to parse Location header"),
        (b"ftp://10.88.0.5/", 'unsupported protocol scheme "ftp"'),
    ],
)
def test_redirects_that_cannot_be_followed(location: bytes, message: str) -> None:
    with pytest.raises(ProbeFailure, match=message):
        redirected(request(HttpGet(port=80)), location)


def test_ten_redirects_are_too_many() -> None:
    following: Request | None = request(HttpGet(port=80))
    for _ in range(9):
        assert following is not None
        following = redirected(following, b"/again")
    assert following is not None
    with pytest.raises(ProbeFailure, match="stopped after 10 redirects"):
        redirected(following, b"/again")


@settings(deadline=None)
@given(location=st.binary(max_size=60))
def test_whatever_a_server_says_no_redirect_breaks_the_request(location: bytes) -> None:
    try:
        following = redirected(request(HttpGet(port=80)), location)
    except ProbeFailure:
        return
    if following is not None:
        assert following.host == "10.88.0.5"
        assert following.scheme in ("http", "https")
        head = following.encoded().partition(b"\r\n\r\n")
        assert head[2] == b""
        assert head[0].split(b"\r\n")[0].count(b" ") == 2
