"""What must hold of probes and hooks."""

from __future__ import annotations

from collections.abc import Iterator

from nsrun.model import names
from nsrun.model.container import Container
from nsrun.model.probe import Exec, Grpc, Hook, HttpGet, Lifecycle, Probe, ProbeAction, Sleep, TcpSocket
from nsrun.model.violation import Violation, between, faults
from nsrun.model.wording import Path, quoted

__all__ = ["lifecycle", "probe_warnings", "probes"]

LARGEST = (1 << 31) - 1


def probes(container: Container, path: Path) -> Iterator[Violation]:
    """All three of a container."""
    for key, probe in _all(container):
        if probe is not None:
            yield from _probe(probe, (*path, key), decides_once=key != "readinessProbe")


def _all(container: Container) -> Iterator[tuple[str, Probe | None]]:
    yield "startupProbe", container.startup_probe
    yield "livenessProbe", container.liveness_probe
    yield "readinessProbe", container.readiness_probe


def _probe(probe: Probe, path: Path, *, decides_once: bool) -> Iterator[Violation]:
    yield from _action(probe.action, path)
    yield from between((*path, "initialDelaySeconds"), probe.initial_delay_seconds, 0, LARGEST)
    yield from between((*path, "timeoutSeconds"), probe.timeout_seconds, 0, LARGEST)
    yield from between((*path, "periodSeconds"), probe.period_seconds, 0, LARGEST)
    yield from between((*path, "successThreshold"), probe.success_threshold, 0, LARGEST)
    yield from between((*path, "failureThreshold"), probe.failure_threshold, 0, LARGEST)
    if decides_once:
        yield from between((*path, "terminationGracePeriodSeconds"), probe.termination_grace_period_seconds, 1, LARGEST)
        if probe.success_threshold > 1:
            yield Violation(path=(*path, "successThreshold"), text=f"must be 1, not {probe.success_threshold}")
    elif probe.termination_grace_period_seconds is not None:
        text = "must not be set: a readiness probe ends nothing"
        yield Violation(path=(*path, "terminationGracePeriodSeconds"), text=text)


def lifecycle(said: Lifecycle, path: Path, *, grace: int) -> Iterator[Violation]:
    """``grace``: the pod's, in seconds."""
    for key, hook in (("postStart", said.post_start), ("preStop", said.pre_stop)):
        if isinstance(hook, Sleep):
            yield from between((*path, key, "sleep", "seconds"), hook.seconds, 0, max(grace, 0))
        elif hook is not None:
            yield from _action(hook, (*path, key))
    if said.stop_signal:
        yield from faults((*path, "stopSignal"), names.signal(said.stop_signal))


def _action(action: ProbeAction | Hook, path: Path) -> Iterator[Violation]:
    match action:
        case Exec(command=command):
            if not command:
                yield Violation(path=(*path, "exec", "command"), text="is required")
            elif not command[0]:
                text = "must name a program, not be empty"
                yield Violation(path=(*path, "exec", "command", 0), text=text)
        case HttpGet(port=port, headers=headers):
            yield from _port(port, (*path, "httpGet", "port"))
            for index, (name, value) in enumerate(headers):
                where = (*path, "httpGet", "httpHeaders", index)
                yield from faults((*where, "name"), names.http_header(name) if name else None)
                if not value.isprintable():
                    yield Violation(path=(*where, "value"), text="must be printable, on one line")
            yield from _printable(action.path, (*path, "httpGet", "path"))
            yield from _printable(action.host, (*path, "httpGet", "host"))
        case TcpSocket(port=port, host=host):
            yield from _port(port, (*path, "tcpSocket", "port"))
            yield from _printable(host, (*path, "tcpSocket", "host"))
        case Grpc(port=port):
            yield from _port(port, (*path, "grpc", "port"))


def _printable(text: str, path: Path) -> Iterator[Violation]:
    """What becomes part of a request must not be able to end its line."""
    if not text.isprintable() or " " in text:
        yield Violation(path=path, text=f"must not hold spaces, as {quoted(text)} does")


def _port(port: int | str, path: Path) -> Iterator[Violation]:
    if isinstance(port, str):
        yield from faults(path, names.port_name(port))
    else:
        yield from between(path, port, 1, 65535)


def probe_warnings(container: Container, path: Path) -> Iterator[Violation]:
    """A port that is named and not there: the kubelet would ask, and never get an answer."""
    known = {port.name for port in container.ports}
    said: list[tuple[Path, ProbeAction | Hook]] = []
    said += [((*path, key), probe.action) for key, probe in _all(container) if probe is not None]
    hooks = (("postStart", container.lifecycle.post_start), ("preStop", container.lifecycle.pre_stop))
    said += [((*path, "lifecycle", key), hook) for key, hook in hooks if hook is not None]
    for where, action in said:
        if isinstance(action, HttpGet | TcpSocket) and isinstance(action.port, str) and action.port not in known:
            key = "httpGet" if isinstance(action, HttpGet) else "tcpSocket"
            text = f"{quoted(action.port)} is not the name of one of the container's ports"
            yield Violation(path=(*where, key, "port"), text=text)
