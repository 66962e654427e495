"""/logs/: the files of the log directory, as the file server of Go shows them, and nothing outside of it."""

from __future__ import annotations

import errno
import html
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from nsrun.api.access import Access
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, Streamed, text
from nsrun.api.routes import Route
from nsrun.support import native
from nsrun.support.fds import Fd
from nsrun.support.threads import finish_in_thread

__all__ = ["log_file_routes"]

_BLOCK = 1 << 18
_MAX_ENTRIES = 10000
_TYPES = {".gz": "application/gzip", ".json": "application/json"}


def log_file_routes(directory: Path) -> tuple[Route, ...]:
    """``directory``: what ``/logs/`` is."""

    async def show(request: Request) -> Answer:
        path = request.parameters.get("path", "")
        try:
            return await finish_in_thread(_show, directory, path, request.path)
        except OSError as error:
            return _missing(error)

    return (
        Route(method="GET", path="/logs", access=Access.LOGS, handler=show),
        Route(method="GET", path="/logs/{path:.*}", access=Access.LOGS, handler=show),
    )


def _show(directory: Path, path: str, asked: str) -> Answer:
    """Raises OSError."""
    if "\0" in path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    with Fd(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
        # Not blocking: a FIFO is no file to show, and nothing to wait for.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        resolve = native.RESOLVE_BENEATH | native.RESOLVE_NO_MAGICLINKS
        file = native.openat2(top.fileno(), path.strip("/") or ".", flags, resolve=resolve)
    status = os.fstat(file.fileno())
    if stat.S_ISREG(status.st_mode):
        kind = _TYPES.get(os.path.splitext(path)[1], "text/plain; charset=utf-8")
        return Streamed(status=200, content_type=kind, chunks=_content(file, status.st_size))
    with file:
        if not stat.S_ISDIR(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if not asked.endswith("/"):
            return _moved(f"{quote(asked.rpartition('/')[2])}/")
        return _listing(file)


async def _content(file: Fd, size: int) -> AsyncIterator[bytes]:
    """As much as there was when it was asked for."""
    with file:
        offset = 0
        while offset < size:
            block = await finish_in_thread(os.pread, file.fileno(), min(_BLOCK, size - offset), offset)
            if not block:
                return  # it was cut meanwhile
            offset += len(block)
            yield block


def _listing(directory: Fd) -> Response:
    with os.scandir(directory.fileno()) as entries:
        names = sorted(
            f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
            for _, entry in zip(range(_MAX_ENTRIES), entries, strict=False)
        )
    shown = [name.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for name in names]
    links = "".join(
        f'<a href="./{quote(os.fsencode(name))}">{html.escape(label)}</a>\n'
        for name, label in zip(names, shown, strict=True)
    )
    body = f"<!doctype html>\n<pre>\n{links}</pre>\n".encode()
    return Response(status=200, content_type="text/html; charset=utf-8", body=body)


def _moved(where: str) -> Response:
    answer = text("")
    return Response(status=301, content_type=answer.content_type, body=b"", headers={"Location": where})


def _missing(error: OSError) -> Response:
    """What is outside, or a link, is not there, as far as anybody is told."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return text("403 Forbidden\n", status=403)
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EXDEV, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG):
        return text("404 page not found\n", status=404)
    return text("500 Internal Server Error\n", status=500)
