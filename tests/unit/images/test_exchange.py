"""Requests as values, and where they may go."""

from __future__ import annotations

import ipaddress

import pytest

from nsrun.images.exchange import Home, Origin, Request, is_local_address, origin_of, redirected
from nsrun.images.retry import Backoff, seconds_of_retry_after


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://h", "https://h"),
        ("https://H.x:443/a?b", "https://h.x"),
        ("http://h:80", "http://h"),
        ("http://h:443/", "http://h:443"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
        ("http://h?x", "http://h"),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert str(origin_of(url)) == origin


SECRET = {"Authorization": "x", "Range": "bytes=1-"}


@pytest.mark.parametrize(
    ("location", "url", "kept"),
    [
        ("/b", "https://h/b", True),
        ("b", "https://h/a/b", True),
        ("https://h:443/b", "https://h:443/b", True),
        ("https://h:444/b", "https://h:444/b", False),
        ("http://h/b", "http://h/b", False),
        ("https://h.x/b", "https://h.x/b", False),
        ("//other/b", "https://other/b", False),
        ("https://h@other/b", "https://h@other/b", False),
    ],
)
def test_redirects_keep_the_proof_only_at_home(location: str, url: str, kept: bool) -> None:
    request = Request(method="GET", url="https://h/a/x", headers=SECRET)
    target = redirected(request, location)
    assert target.url == url
    assert ("Authorization" in target.headers) == kept
    assert target.headers["Range"] == "bytes=1-"


def test_home_may_be_anywhere() -> None:
    """A registry that is on the link or on loopback is asked for what it has; others are not reached by way of it."""
    home = Home(origin=Origin(scheme="https", host="169.254.1.1", port=443))
    assert home.objection("https://169.254.1.1/x") is None
    assert home.objection("https://169.254.1.1:8443/x") is None
    assert home.objection("https://169.254.169.254/x") is not None
    assert home.objection("https://127.0.0.1/x") is not None
    assert home.objection("https://10.0.0.1/x") is None


@pytest.mark.parametrize(
    ("address", "local"),
    [("10.0.0.1", False), ("127.8.8.8", True), ("169.254.169.254", True), ("::ffff:127.0.0.1", True), ("fe80::1", True),
     ("::", True), ("ff02::1", True), ("2001:db8::1", False), ("fd00::1", False)],
)  # fmt: skip
def test_local_addresses(address: str, local: bool) -> None:
    assert is_local_address(ipaddress.ip_address(address)) == local


def test_pauses() -> None:
    backoff = Backoff(attempts=5, base=0.5, cap=3.0, patience=60)
    assert [backoff.pause(n, None, lambda: 1.0) for n in range(6)] == [0.5, 1.0, 2.0, 3.0, None, None]
    assert backoff.pause(0, None, lambda: 0.0) == 0.25
    assert backoff.pause(0, 30, lambda: 1.0) == 30
    assert backoff.pause(0, 0, lambda: 1.0) == 0.5
    assert backoff.pause(0, 61, lambda: 1.0) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("99999999999999", 999999999.0),
        ("-1", None),
        ("७", None),
        ("soon", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:01:40", 40.0),
        ("Thu, 99 Jan 1970 00:01:40 GMT", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert seconds_of_retry_after(text, 60.0) == seconds
