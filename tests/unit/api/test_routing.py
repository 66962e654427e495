"""Paths and the routes they lead to."""

from __future__ import annotations

import pytest

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, text
from nsrun.api.routes import Route
from nsrun.api.routing import Match, RouteTable


async def handler(_request: Request) -> Answer:
    return text("")


def route(method: str, path: str) -> Route:
    return Route(method=method, path=path, access=Access.READ, handler=handler)


TABLE = RouteTable(
    (
        route("GET", "/pods"),
        route("POST", "/pods"),
        route("GET", "/runningpods/"),
        route("GET", "/exec/{namespace}/{pod}/{container}"),
        route("GET", "/exec/{namespace}/{pod}/{uid}/{container}"),
        route("GET", "/logs/{path:.*}"),
        route("GET", "/a.b"),
    )
)


@pytest.mark.parametrize(
    ("path", "found", "parameters"),
    [
        ("/pods", "/pods", {}),
        ("/pods/", "/pods", {}),
        ("/runningpods", "/runningpods/", {}),
        ("/runningpods/", "/runningpods/", {}),
        (
            "/exec/ns/p/c",
            "/exec/{namespace}/{pod}/{container}",
            {"namespace": "ns", "pod": "p", "container": "c"},
        ),
        (
            "/exec/ns/p/u/c/",
            "/exec/{namespace}/{pod}/{uid}/{container}",
            {"namespace": "ns", "pod": "p", "uid": "u", "container": "c"},
        ),
        (
            "/exec/a%2Fb/%2e%2e/c%00",
            "/exec/{namespace}/{pod}/{container}",
            {"namespace": "a/b", "pod": "..", "container": "c\0"},
        ),
        ("/exec/%ff/p/c", "/exec/{namespace}/{pod}/{container}", {"namespace": "\ufffd", "pod": "p", "container": "c"}),
        ("/logs/", "/logs/{path:.*}", {"path": ""}),
        ("/logs/a/b%2f../c\n", "/logs/{path:.*}", {"path": "a/b/../c\n"}),
    ],
)
def test_a_path_and_its_parts(path: str, found: str, parameters: dict[str, str]) -> None:
    match = TABLE.find("GET", path)
    assert isinstance(match, Match)
    assert (match.route.path, match.parameters) == (found, parameters)


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("GET", "/", set()),
        ("GET", "/Pods", set()),
        ("GET", "//pods", set()),
        ("GET", "/pods//", set()),
        ("GET", "/exec//p/c", set()),
        ("GET", "/exec/ns/p", set()),
        ("GET", "/logs", set()),
        ("GET", "/axb", set()),
        ("DELETE", "/pods", {"GET", "POST"}),
        ("get", "/pods", {"GET", "POST"}),
    ],
)
def test_where_nothing_is(method: str, path: str, methods: set[str]) -> None:
    assert TABLE.find(method, path) == frozenset(methods)
