"""/run: a command in a container, and all that it said, in one answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from nsrun.api.access import Access
from nsrun.api.places import running_container, told
from nsrun.api.requests import Request
from nsrun.api.responses import Response, text
from nsrun.api.routes import Route
from nsrun.api.streaming.descriptors import DescriptorReader
from nsrun.errors import RuntimeFailure
from nsrun.supervisor.board import StatusBoard
from nsrun.supervisor.ports import ContainerId, Runtime, SessionRequest
from nsrun.support.fds import Fd

__all__ = ["run_routes"]

MAX_OUTPUT = 1 << 20
"""Bytes of each stream that are told; the command may write more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    code: int
    stdout: bytes
    stderr: bytes


def run_routes(board: StatusBoard, runtime: Runtime) -> tuple[Route, ...]:
    """As ``pkg/kubelet/server/server.go``, ``getRun``: standard output, and behind it standard error; a command that
    fails is a 500 that says how."""

    async def run(request: Request) -> Response:
        id = running_container(board, request)
        words = request.first("cmd") or ""
        try:
            outcome = await _run(runtime, id, tuple(words.split(" ")))
        except RuntimeFailure as error:
            return text(f"{error}\n", status=500)
        if outcome.code != 0:
            said = outcome.stderr.decode("utf-8", "replace")
            return text(f"command '{words}' exited with {outcome.code}: {said}", status=500)
        return Response(status=200, content_type="application/json", body=outcome.stdout + outcome.stderr)

    paths = ("/run/{namespace}/{pod}/{container}", "/run/{namespace}/{pod}/{uid}/{container}")
    return tuple(Route(method="POST", path=path, access=Access.EXEC, handler=told(run)) for path in paths)


async def _run(runtime: Runtime, id: ContainerId, command: tuple[str, ...]) -> _Outcome:
    """Whoever is cancelled takes the command along. Raises RuntimeFailure."""
    session = await runtime.open_session(id, SessionRequest(command=command))
    try:
        async with asyncio.TaskGroup() as group:
            readers = [DescriptorReader(_number(stream)) for stream in (session.stdout, session.stderr)]
            kept = [group.create_task(_keep(reader)) for reader in readers]
            code = await session.wait()
            for reader in readers:
                reader.finish()
        return _Outcome(code=code, stdout=kept[0].result(), stderr=kept[1].result())
    finally:
        await session.close()


def _number(stream: Fd | None) -> int:
    assert stream is not None, "both were asked for"
    return stream.fileno()


async def _keep(reader: DescriptorReader) -> bytes:
    """The first of it; the rest is read all the same, so that the command can go on."""
    kept = bytearray()
    while data := await reader.read():
        kept += data[: MAX_OUTPUT - len(kept)]
    return bytes(kept)
