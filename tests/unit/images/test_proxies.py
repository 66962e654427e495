"""Which proxy is asked: the rules of Go's httpproxy."""

from __future__ import annotations

import pytest

from nsrun.errors import ImageError
from nsrun.images.exchange import origin_of
from nsrun.images.proxies import proxy_for

PROXIES = {"HTTPS_PROXY": "http://secure:3128", "HTTP_PROXY": "plain:80"}


def proxy(url: str, environment: dict[str, str]) -> str | None:
    origin = origin_of(url)
    assert origin is not None
    return proxy_for(origin, environment)


@pytest.mark.parametrize(
    ("url", "environment", "found"),
    [
        ("https://h.x/", {}, None),
        ("https://h.x/", PROXIES, "http://secure:3128"),
        ("http://h.x/", PROXIES, "http://plain:80"),
        ("https://h.x/", {"HTTP_PROXY": "plain"}, None),
        ("https://h.x/", {"https_proxy": "lower"}, "http://lower"),
        ("https://h.x/", {"https_proxy": "lower", "HTTPS_PROXY": "upper"}, "http://upper"),
        ("https://h.x/", {"https_proxy": "lower", "HTTPS_PROXY": ""}, "http://lower"),
        ("https://h.x/", {"HTTPS_PROXY": "http://u:p%40ss@proxy:1/"}, "http://u:p%40ss@proxy:1"),
        ("https://h.x/", {"HTTPS_PROXY": "u:p@proxy"}, "http://u:p@proxy"),
        ("https://h.x/", {"HTTPS_PROXY": "http://[fd00::1]:3128"}, "http://[fd00::1]:3128"),
        ("https://localhost/", PROXIES, None),
        ("https://127.0.0.1:5000/", PROXIES, None),
        ("https://127.9.9.9/", PROXIES, None),
        ("https://[::1]:5000/", PROXIES, None),
        ("https://notlocalhost/", PROXIES, "http://secure:3128"),
    ],
)
def test_the_proxy(url: str, environment: dict[str, str], found: str | None) -> None:
    assert proxy(url, environment) == found


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("host", "exceptions", "direct"),
    [
        ("h.x", "", False),
        ("h.x", "*", True),
        ("h.x", "a,*", True),
        ("h.x", "h.x", True),
        ("a.h.x", "h.x", True),
        ("ah.x", "h.x", False),
        ("h.x", "H.X", True),
        ("h.x", "other, h.x", True),
        ("h.x", "other h.x", True),
        ("h.x", ".h.x", False),
        ("a.h.x", ".h.x", True),
        ("a.b.h.x", ".h.x", True),
        ("h.x", "*.h.x", False),
        ("a.h.x", "*.h.x", True),
        ("h.x", "*h.x", False),
        ("h.x", ".", False),
        ("h.x", ":443", False),
        ("h.x", "h.x:443", True),
        ("h.x", "h.x:80", False),
        ("h.x:5000", "h.x:5000", True),
        ("h.x:5000", "h.x", True),
        ("a.h.x:5000", ".h.x:5000", True),
        ("a.h.x:5001", ".h.x:5000", False),
        ("h.x", "h.x:none", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.30", False),
        ("110.1.2.3", "10.1.2.3", False),
        ("10.1.2.3", "2.3", False),
        ("10.1.2.3:5000", "10.1.2.3:5000", True),
        ("10.1.2.3:5001", "10.1.2.3:5000", False),
        ("10.1.2.3:5000", "10.0.0.0/8", True),
        ("10.1.2.3", "10.9.9.9/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.0.0.0/99", False),
        ("h.x", "10.0.0.0/8", False),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]", "[fd00::1]", True),
        ("[fd00::1]:5000", "[fd00::1]:5000", True),
        ("[fd00::1]:5001", "[fd00::1]:5000", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "fd00:0:0::1", True),
        ("[::ffff:10.1.2.3]", "10.0.0.0/8", True),
    ],
)
def test_exceptions(host: str, exceptions: str, direct: bool, variable: str) -> None:
    found = proxy(f"https://{host}/", {**PROXIES, variable: exceptions})
    assert found == (None if direct else "http://secure:3128")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "socks5://u:secret@proxy:1080",
            r'the proxy "socks5://proxy:1080" cannot be used: it is not one for plain HTTP',
        ),
        ("https://u:secret@proxy", 'the proxy "https://proxy" cannot be used: it is not one for plain HTTP'),
        ("ftp://u:secret@proxy", "it is not one for plain HTTP"),
        ("http://u:secret@proxy/path", "cannot be used: it is no host"),
        ("http://u:secret@", "cannot be used: it is no host"),
        ("http://u:secret@a b", "cannot be used: it is no host"),
        ("http://u:secret@proxy:99999", "cannot be used: it is no host"),
        ("http://u:sec@ret@pro\nxy", r"pro\\x0axy"),
    ],
)
def test_what_is_no_proxy_for_us(value: str, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        proxy("https://h.x/", {"HTTPS_PROXY": value})
    assert "sec" not in caught.value.message
    assert "HTTPS_PROXY" in (caught.value.hint or "")
