"""/containerLogs: what a container wrote, from all files of its log, and what it goes on to write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from nsrun.api.access import Access
from nsrun.api.log_options import LogOptions, log_options
from nsrun.api.places import Refused, told
from nsrun.api.requests import Request
from nsrun.api.responses import Streamed, text
from nsrun.api.routes import Route
from nsrun.model.pod import Pod
from nsrun.model.status import ContainerStatus, PodStatus, Running, Waiting
from nsrun.supervisor.board import StatusBoard
from nsrun.support.clock import Clock
from nsrun.support.layout import Layout
from nsrun.support.logreader import LogReader
from nsrun.support.logtext import STDERR, STDOUT, LogText
from nsrun.support.threads import finish_in_thread

__all__ = ["attempt_to_show", "container_log_routes", "log_text"]

SOON, LATE = 0.05, 0.8
"""Seconds until a log that is followed is looked at again: first, and, twice as long each time, at last."""

_WAITING_BECAUSE = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


def container_log_routes(board: StatusBoard, layout: Layout, clock: Clock) -> tuple[Route, ...]:
    """As ``pkg/kubelet/server/server.go``, ``getContainerLogs``. What was rotated away is shown too."""

    async def logs(request: Request) -> Streamed:
        place = request.parameters
        options = log_options(request.query, now=clock.now())
        found = board.pod(place["namespace"], place["pod"])
        if found is None:
            raise Refused(text(f'pod "{place["pod"]}" does not exist\n', status=404))
        pod, status = found
        attempt = attempt_to_show(pod, status, place["container"], previous=options.previous)
        log = layout.container_log(pod.name, pod.uid, place["container"], attempt)

        def goes_on() -> bool:
            status = board.status(pod.uid)
            container = _status(status, place["container"]) if status is not None else None
            return container is not None and isinstance(container.state, Running) and container.restart_count == attempt

        chunks = log_text(log, options, goes_on=goes_on if options.follow else lambda: False, clock=clock)
        return Streamed(status=200, content_type="text/plain; charset=utf-8", chunks=chunks)

    path = "/containerLogs/{namespace}/{pod}/{container}"
    return (Route(method="GET", path=path, access=Access.LOGS, handler=told(logs)),)


def _status(status: PodStatus, name: str) -> ContainerStatus | None:
    statuses = (*status.init_container_statuses, *status.container_statuses)
    return next((container for container in statuses if container.name == name), None)


def attempt_to_show(pod: Pod, status: PodStatus, container: str, *, previous: bool) -> int:
    """The number of the run whose log is meant: the one that runs, or the last that did
    (``pkg/kubelet/kubelet_pods.go``, ``validateContainerLogStatus``). Raises Refused."""
    name = pod.metadata.name
    if container not in {spec.name for spec in (*pod.spec.init_containers, *pod.spec.containers)}:
        raise Refused(text(f'container "{container}" not found in pod "{name}"\n', status=404))
    found = _status(status, container)
    if found is None:
        raise Refused(text(f'container "{container}" in pod "{name}" is not available', status=400))
    waiting = found.state if isinstance(found.state, Waiting) else None
    if previous:
        if found.last_state is None:
            words = f'previous terminated container "{container}" in pod "{name}" not found'
            raise Refused(text(words, status=400))
        return found.restart_count if waiting else found.restart_count - 1
    if waiting is None or found.last_state is not None:
        return found.restart_count
    why = _WAITING_BECAUSE.get(waiting.reason, waiting.reason)
    raise Refused(text(f'container "{container}" in pod "{name}" is waiting to start: {why}', status=400))


async def log_text(
    log: Path, options: LogOptions, *, goes_on: Callable[[], bool], clock: Clock
) -> AsyncIterator[bytes]:
    """The text of a log; at its end more is waited for as long as the container ``goes_on``."""
    streams = (STDOUT if "stdout" in options.streams else 0) | (STDERR if "stderr" in options.streams else 0)
    since = _stamp(options.since) if options.since is not None else b""
    render = LogText(streams=streams, since=since, stamps=options.timestamps)
    left, delay, last = options.limit, SOON, False
    reader: LogReader | None = None
    try:
        while True:
            # In this order: what was written before the end is there when the end is known.
            last = not goes_on()
            if reader is None:
                reader = await finish_in_thread(_open, log, options.tail)
            some, chunk = await finish_in_thread(_next, reader, render) if reader is not None else (False, b"")
            if chunk:
                yield chunk if left is None else chunk[:left]
                left = None if left is None else left - len(chunk)
                if left is not None and left <= 0:
                    return
            if some:
                delay = SOON
            elif last:
                return
            else:
                await clock.sleep(delay)
                delay = min(2 * delay, LATE)
    finally:
        if reader is not None:
            reader.__exit__()


def _open(log: Path, tail: int | None) -> LogReader | None:
    """None while there is no log."""
    try:
        reader = LogReader(log)
    except FileNotFoundError:
        return None
    if tail is not None:
        reader.skip_to_tail(tail)
    return reader


def _next(reader: LogReader, render: LogText) -> tuple[bool, bytes]:
    """Whether there were records, and the text of those that are wanted."""
    records = reader.read()
    if not records:
        reader.release()
        render.release()
        return False, b""
    return True, b"".join(bytes(piece) for _, piece in render.render(records))


def _stamp(seconds: float) -> bytes:
    """A time as records tell it."""
    whole = int(seconds // 1)
    nanoseconds = int((seconds - whole) * 1e9)
    try:
        moment = datetime.fromtimestamp(whole, UTC)
    except (ValueError, OverflowError, OSError):
        return b""  # before anything was ever written
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z".encode()
