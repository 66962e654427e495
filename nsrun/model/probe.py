"""What is asked of a running container, and done at its start and its end: probes and lifecycle hooks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Exec",
    "Grpc",
    "Hook",
    "HttpGet",
    "Lifecycle",
    "NetworkCheck",
    "Probe",
    "ProbeAction",
    "ProbeKind",
    "Scheme",
    "Sleep",
    "TcpSocket",
]


class ProbeKind(StrEnum):
    """What a probe decides: whether the container is up, is to be killed, is ready to serve."""

    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"


class Scheme(StrEnum):
    """How an HTTP request is made."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """A command inside the container; nothing in it is expanded by a shell."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpGet:
    """``port``: a number, or the name of one of the container's ports. ``host`` "": the pod's address. ``headers``:
    pairs in order, a name may come again."""

    port: int | str
    path: str = "/"
    host: str = ""
    scheme: Scheme = Scheme.HTTP
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSocket:
    """A connection that is only opened."""

    port: int | str
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grpc:
    """grpc.health.v1.Health/Check without TLS."""

    port: int
    service: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """A hook that only waits."""

    seconds: int


NetworkCheck = HttpGet | TcpSocket | Grpc
ProbeAction = Exec | NetworkCheck
Hook = Exec | HttpGet | TcpSocket | Sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How often, how long, and how many times in a row until it counts. Times in seconds.
    ``termination_grace_period_seconds`` None: the pod's."""

    action: ProbeAction
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """Hooks, and the signal that asks the container to stop ("": the image's, or SIGTERM)."""

    post_start: Hook | None = None
    pre_stop: Hook | None = None
    stop_signal: str = ""
