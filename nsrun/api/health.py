"""/healthz and its parts, as a kubelet has them (``apiserver/pkg/server/healthz``, ``pkg/kubelet/kubelet.go``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Response, text
from nsrun.api.routes import Handler, Route
from nsrun.support.clock import Clock

__all__ = ["health_routes"]

TOO_LONG = 300.0
"""Seconds. The kubelet's: twice its syncFrequency, and at least five minutes."""

Check = Callable[[], str | None]
"""What is wrong; None when nothing is."""


def health_routes(loop_entered_at: Callable[[], float | None], clock: Clock) -> tuple[Route, ...]:
    """``loop_entered_at``: the clock's monotonic seconds when the supervisor last came round, None before the first
    time."""

    def loop() -> str | None:
        entered = loop_entered_at()
        late = entered is not None and clock.monotonic() - entered > TOO_LONG
        return "sync Loop took longer than expected" if late else None

    checks: Mapping[str, Check] = {"ping": _fine, "log": _fine, "syncloop": loop}

    async def all_of_them(request: Request) -> Response:
        return _report(checks, request.query.get("exclude", ()), verbose="verbose" in request.query)

    return (
        Route(method="GET", path="/healthz", access=Access.READ, handler=all_of_them),
        *(
            Route(method="GET", path=f"/healthz/{name}", access=Access.READ, handler=_single(check))
            for name, check in checks.items()
        ),
    )


def _fine() -> None:
    """That it is asked is the answer."""


def _single(check: Check) -> Handler:
    async def handle(_request: Request) -> Response:
        wrong = check()
        return text("ok") if wrong is None else text(f"internal server error: {wrong}\n", status=500)

    return handle


def _report(checks: Mapping[str, Check], excluded: tuple[str, ...], *, verbose: bool) -> Response:
    lines, failed = [], False
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
        elif check() is None:
            lines.append(f"[+]{name} ok")
        else:
            lines.append(f"[-]{name} failed: reason withheld")
            failed = True
    unknown = sorted(set(excluded) - checks.keys())
    if unknown:
        names = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {names}")
    if failed:
        return text("\n".join([*lines, "healthz check failed", ""]), status=500)
    return text("\n".join([*lines, "healthz check passed", ""]) if verbose else "ok")
