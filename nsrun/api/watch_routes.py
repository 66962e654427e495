"""What happens to pods, now and from now on, on nsrun's own socket: ``/nsrun/pods`` and ``/nsrun/events``.

``?watch=1`` streams one JSON object a line, as a Kubernetes API server does: ``{"type": …, "object": …}``. First all
there is, each ``ADDED``; then one ``BOOKMARK`` with the annotation ``k8s.io/initial-events-end``; then what changes:
``ADDED``, ``MODIFIED``, ``DELETED``. Of what changed several times since the reader looked only the last is told.
``timeoutSeconds`` ends the stream; it ends too when the reader is thousands of changes behind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from nsrun.api.access import Access
from nsrun.api.pod_list import PodList
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, Streamed, json_response, text
from nsrun.api.routes import Route
from nsrun.model.encode import encode_pod
from nsrun.model.encode_event import encode_event
from nsrun.supervisor.board import StatusBoard

__all__ = ["watch_routes"]

Lines = AsyncGenerator[bytes, None]

MONTH = 31 * 86400.0


def watch_routes(board: StatusBoard, listed: PodList) -> tuple[Route, ...]:
    """``?namespace=`` and ``?pod=`` choose among events."""
    node_name = listed.node_name

    async def pods(request: Request) -> Answer:
        if _is_watch(request):
            return _watch(request, _pod_lines(board, listed, node_name))
        return Response(status=200, content_type="application/json", body=listed.document())

    async def events(request: Request) -> Answer:
        namespace, pod = request.first("namespace"), request.first("pod")
        if _is_watch(request):
            return _watch(request, _event_lines(board, node_name, namespace, pod))
        meant = [encode_event(series, node_name=node_name) for series in board.events(namespace=namespace, pod=pod)]
        return json_response({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": meant})

    return (
        Route(method="GET", path="/nsrun/pods", access=Access.CONTROL, handler=pods),
        Route(method="GET", path="/nsrun/events", access=Access.CONTROL, handler=events),
    )


def _is_watch(request: Request) -> bool:
    return request.first("watch") in ("1", "true")


def _watch(request: Request, lines: Lines) -> Answer:
    try:
        seconds = request.seconds("timeoutSeconds")
    except ValueError as error:
        return text(f"{error}\n", status=400)
    chunks = _until(lines, MONTH if seconds is None else min(seconds, MONTH))
    return Streamed(status=200, content_type="application/json", chunks=chunks)


async def _until(lines: Lines, seconds: float) -> Lines:
    """The lines, for so long. What is there already is told in any case."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    async with aclosing(lines):
        while True:
            try:
                async with asyncio.timeout_at(end):
                    line = await anext(lines)
            except (TimeoutError, StopAsyncIteration):
                return
            yield line


async def _pod_lines(board: StatusBoard, listed: PodList, node_name: str) -> Lines:
    shown: set[str] = set()  # UIDs
    async with aclosing(board.watch_pods()) as watch:
        for change, text in zip(await anext(watch), listed.items(), strict=True):
            shown.add(change.pod.uid)
            yield _line("ADDED", text)
        yield _bookmark("Pod")
        async for changes in watch:
            for change in changes:
                uid, known = change.pod.uid, change.pod.uid in shown
                if change.gone and not known:
                    continue  # it came and went
                (shown.discard if change.gone else shown.add)(uid)
                type = "DELETED" if change.gone else "MODIFIED" if known else "ADDED"
                yield _line(type, _json(encode_pod(change.pod, change.status, node_name=node_name)))


async def _event_lines(board: StatusBoard, node_name: str, namespace: str | None, pod: str | None) -> Lines:
    newest, initial = 0, True  # the number of the newest series that was told
    async with aclosing(board.watch_events()) as watch:
        async for news in watch:
            for series in news:
                event = series.event
                known, newest = not initial and series.number <= newest, max(newest, series.number)
                if namespace in (None, event.namespace) and pod in (None, event.pod):
                    yield _line("MODIFIED" if known else "ADDED", _json(encode_event(series, node_name=node_name)))
            if initial:
                initial = False
                yield _bookmark("Event")


def _line(type: str, document: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type.encode(), document)


def _bookmark(kind: str) -> bytes:
    annotations = {"k8s.io/initial-events-end": "true"}
    return _line("BOOKMARK", _json({"kind": kind, "apiVersion": "v1", "metadata": {"annotations": annotations}}))


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
