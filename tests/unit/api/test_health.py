"""/healthz: the kubelet's words."""

from __future__ import annotations

import pytest

from nsrun.api.health import TOO_LONG, health_routes
from nsrun.api.requests import Request
from nsrun.api.responses import Response
from tests.contracts.virtualclock import VirtualClock


async def ask(path: str, *, entered: float | None, now: float, **query: tuple[str, ...]) -> tuple[int, str]:
    clock = VirtualClock()
    shift = now - clock.monotonic()
    at = None if entered is None else entered - shift
    (route,) = (route for route in health_routes(lambda: at, clock) if route.path == path)
    answer = await route.handler(Request(method="GET", path=path, query=query))
    assert isinstance(answer, Response)
    assert answer.content_type == "text/plain; charset=utf-8"
    return answer.status, answer.body.decode()


FINE = "[+]ping ok\n[+]log ok\n[+]syncloop ok\nhealthz check passed\n"
STUCK = "[+]ping ok\n[+]log ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n"
EXCLUDED = "[+]ping ok\n[+]log ok\n[+]syncloop excluded: ok\nhealthz check passed\n"
UNKNOWN = (
    "[+]ping ok\n[+]log ok\n[+]syncloop ok\n"
    'warn: some health checks cannot be excluded: no matches for "a", "b"\nhealthz check passed\n'
)


@pytest.mark.parametrize(
    ("query", "late", "expected"),
    [
        ({}, False, (200, "ok")),
        ({"verbose": ("",)}, False, (200, FINE)),
        ({}, True, (500, STUCK)),
        ({"verbose": ("",)}, True, (500, STUCK)),
        ({"exclude": ("syncloop",)}, True, (200, "ok")),
        ({"exclude": ("syncloop",), "verbose": ("1",)}, True, (200, EXCLUDED)),
        ({"exclude": ("b", "a"), "verbose": ("",)}, False, (200, UNKNOWN)),
    ],
)
async def test_all_checks(query: dict[str, tuple[str, ...]], late: bool, expected: tuple[int, str]) -> None:
    entered = 1000.0
    assert await ask("/healthz", entered=entered, now=entered + TOO_LONG + late, **query) == expected


@pytest.mark.parametrize("name", ["ping", "log", "syncloop"])
async def test_one_check(name: str) -> None:
    assert await ask(f"/healthz/{name}", entered=None, now=10000.0) == (200, "ok"), "nothing is late before it begins"
    late = await ask(f"/healthz/{name}", entered=0.0, now=TOO_LONG + 1)
    stuck = (500, "internal server error: sync Loop took longer than expected\n")
    assert late == (stuck if name == "syncloop" else (200, "ok"))
