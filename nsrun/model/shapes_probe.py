"""Probes and hooks as tables (core/v1 Probe, Lifecycle, LifecycleHandler)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nsrun.model import defaults
from nsrun.model.fields import (
    MISSING,
    TEXTS,
    Missing,
    Place,
    Refused,
    Shape,
    choice,
    integer,
    list_of,
    number_or_text,
    one_of,
    text,
)
from nsrun.model.probe import Exec, Grpc, Hook, HttpGet, Lifecycle, Probe, Scheme, Sleep, TcpSocket
from nsrun.model.tree import MapNode
from nsrun.model.wording import listed

__all__ = ["LIFECYCLE", "PROBE"]

EXEC = Shape(build=Exec, blank={"command": ()}, required=frozenset({"command"}), fields={"command": ("command", TEXTS)})


def _header(name: str, value: str = "") -> tuple[str, str]:
    return name, value


HEADER = Shape(
    build=_header,
    blank={"name": ""},
    required=frozenset({"name"}),
    fields={"name": ("name", text), "value": ("value", text)},
)


def _http_get(path: str = "", **values: Any) -> HttpGet:
    return HttpGet(path=path or "/", **values)


HTTP_GET = Shape(
    build=_http_get,
    blank={"port": 0},
    required=frozenset({"port"}),
    fields={
        "path": ("path", text),
        "port": ("port", number_or_text),
        "host": ("host", text),
        "scheme": ("scheme", choice(Scheme)),
        "httpHeaders": ("headers", list_of(HEADER, ("", ""))),
    },
    refused={"protocol": Refused(text='must be "HTTP1", or not be set', harmless="HTTP1")},
)
TCP_SOCKET = Shape(
    build=TcpSocket,
    blank={"port": 0},
    required=frozenset({"port"}),
    fields={"port": ("port", number_or_text), "host": ("host", text)},
)
GRPC = Shape(
    build=Grpc,
    blank={"port": 0},
    required=frozenset({"port"}),
    fields={"port": ("port", integer), "service": ("service", text)},
    refused={"mode": Refused(text='must be "Plaintext", or not be set', harmless="Plaintext")},
)
SLEEP = Shape(
    build=Sleep, blank={"seconds": 0}, required=frozenset({"seconds"}), fields={"seconds": ("seconds", integer)}
)

ACTIONS: Mapping[str, Any] = {"exec": EXEC, "httpGet": HTTP_GET, "tcpSocket": TCP_SOCKET, "grpc": GRPC}
HOOKS: Mapping[str, Any] = {"exec": EXEC, "httpGet": HTTP_GET, "sleep": SLEEP, "tcpSocket": TCP_SOCKET}

TIMES: Shape[dict[str, Any]] = Shape(
    build=dict,
    fields={
        "initialDelaySeconds": ("initial_delay_seconds", integer),
        "timeoutSeconds": ("timeout_seconds", integer),
        "periodSeconds": ("period_seconds", integer),
        "successThreshold": ("success_threshold", integer),
        "failureThreshold": ("failure_threshold", integer),
        "terminationGracePeriodSeconds": ("termination_grace_period_seconds", integer),
    },
)


def PROBE(place: Place) -> Probe | Missing:  # noqa: N802
    """One action, and when it is done."""
    action, times = one_of(place, ACTIONS, TIMES, only_one="action: a probe has one")
    if action is None and isinstance(place.node, MapNode):
        return place.problem(f"must have one of {listed(ACTIONS)}")
    return MISSING if action in (None, MISSING) else Probe(action=action, **defaults.probe(times))


NOTHING: Shape[dict[str, Any]] = Shape(build=dict, fields={})


def _hook(place: Place) -> Hook | Missing:
    action, _ = one_of(place, HOOKS, NOTHING, only_one="action: a hook has one")
    if action is None and isinstance(place.node, MapNode):
        return place.problem(f"must have one of {listed(HOOKS)}")
    return MISSING if action is None else action


LIFECYCLE = Shape(
    build=Lifecycle,
    fields={
        "postStart": ("post_start", _hook),
        "preStop": ("pre_stop", _hook),
        "stopSignal": ("stop_signal", text),
    },
)
