"""exec and attach: a session's descriptors on one side, a client's streams on the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nsrun.api.streaming.descriptors import DescriptorReader, write_all
from nsrun.api.streaming.inbox import Sink, Source
from nsrun.api.streaming.remotecommand_status import Ended, Failed, Outcome
from nsrun.errors import NsrunError
from nsrun.supervisor.ports import Session, SessionRequest, TerminalSize

__all__ = ["OpenSession", "Sizes", "Streams", "converse"]

OpenSession = Callable[[SessionRequest], Awaitable[Session]]
"""Raises RuntimeFailure."""

_MAX_SIZE_TEXT = 256  # characters of one size
_MAX_CELLS = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The client's ends; those that were not asked for are None."""

    stdin: Source | None = None
    stdout: Sink | None = None
    stderr: Sink | None = None
    resize: Source | None = None


class Sizes:
    """The sizes of a terminal in a stream of JSON objects, as they come in pieces."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, data: bytes) -> list[TerminalSize]:
        """Sizes that are whole now; ``{"Width":120,"Height":40}`` each, in any case. Raises ValueError."""
        self._text += data.decode("utf-8", "replace")
        sizes = []
        while text := self._text.lstrip():
            try:
                document, end = json.JSONDecoder().raw_decode(text[:_MAX_SIZE_TEXT])
            except json.JSONDecodeError:
                if len(text) >= _MAX_SIZE_TEXT:
                    raise
                break
            sizes.append(_size(document))
            self._text = text[end:]
        return sizes


def _size(document: object) -> TerminalSize:
    if not isinstance(document, dict):
        raise ValueError("no size of a terminal")
    named = {str(name).lower(): value for name, value in document.items()}
    columns, rows = named.get("width"), named.get("height")
    for number in (columns, rows):
        if not isinstance(number, int) or not 0 <= number <= _MAX_CELLS:
            raise ValueError("no size of a terminal")
    assert isinstance(columns, int)
    assert isinstance(rows, int)
    return TerminalSize(columns=columns, rows=rows)


async def converse(open_session: OpenSession, request: SessionRequest, streams: Streams) -> Outcome:
    """Opens the session, carries everything both ways, and returns how it ended, when all that it wrote was sent.

    Cancelled, or when a stream of the client's breaks off (a group with ConnectionError), a command is killed."""
    attaching = request.command is None
    outcome: Outcome
    try:
        session = await open_session(request)
    except NsrunError as error:
        outcome = Failed(message=str(error), attaching=attaching)
    else:
        try:
            outcome = Ended(code=await _carry(session, streams), command=request.command)
        except* NsrunError as group:
            outcome = Failed(message=str(group.exceptions[0]), attaching=attaching)
        finally:
            await session.close()
    for sink in (streams.stdout, streams.stderr):
        if sink is not None:
            sink.end()
    return outcome


async def _carry(session: Session, streams: Streams) -> int:
    readers: list[DescriptorReader] = []
    async with asyncio.TaskGroup() as group:
        outputs = []
        for fd, sink in ((session.stdout, streams.stdout), (session.stderr, streams.stderr)):
            if fd is not None and sink is not None:
                readers.append(DescriptorReader(fd.fileno()))
                outputs.append(group.create_task(_copy_out(readers[-1], sink)))
        inputs = [
            group.create_task(_copy_in(session, streams.stdin)),
            group.create_task(_resize(session, streams.resize)),
        ]
        code = await session.wait()
        for reader in readers:
            reader.finish()
        if outputs:
            await asyncio.wait(outputs)
        for task in inputs:
            task.cancel()
    return code


async def _copy_out(reader: DescriptorReader, sink: Sink) -> None:
    while data := await reader.read():
        await sink.write(data)
    sink.end()


async def _copy_in(session: Session, source: Source | None) -> None:
    if source is None:
        return
    if session.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # the command reads no more
            while data := await source.read():
                await write_all(session.stdin.fileno(), data)
            session.close_stdin()
    source.discard()


async def _resize(session: Session, source: Source | None) -> None:
    """What is no size is the end of resizing, and of nothing else, as in the kubelet."""
    if source is None:
        return
    sizes = Sizes()
    with contextlib.suppress(ValueError):
        while data := await source.read():
            for size in sizes.feed(data):
                if size.columns and size.rows:
                    await session.resize(size)
    source.discard()
