"""The files of the log directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsrun.api.log_files import log_file_routes
from nsrun.api.requests import Request
from nsrun.api.responses import Answer, Response, Streamed


async def ask(directory: Path, path: str) -> Answer:
    route = log_file_routes(directory)[-1]
    return await route.handler(Request(method="GET", path=f"/logs/{path}", parameters={"path": path}))


async def content(answer: Answer) -> bytes:
    assert isinstance(answer, Streamed)
    return b"".join([chunk async for chunk in answer.chunks])


async def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "large").write_bytes(bytes(range(256)) * 4096)
    (tmp_path / "old.gz").write_bytes(b"\x1f\x8b")
    answer = await ask(tmp_path, "d/large")
    assert await content(answer) == bytes(range(256)) * 4096
    packed = await ask(tmp_path, "old.gz")
    assert isinstance(packed, Streamed)
    assert packed.content_type == "application/gzip"
    assert await content(packed) == b"\x1f\x8b"


async def test_a_file_that_grows_and_one_that_shrinks(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"before")
    grown = await ask(tmp_path, "f")
    (tmp_path / "f").write_bytes(b"before and after")
    shrunk = await ask(tmp_path, "f")
    assert await content(grown) == b"before"
    (tmp_path / "f").write_bytes(b"")
    assert await content(shrunk) == b""


async def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a<script>&").write_text("")
    (tmp_path / "c\udcff").write_text("")
    answer = await ask(tmp_path, "")
    assert isinstance(answer, Response)
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.body.decode() == (
        "<!doctype html>\n<pre>\n"
        '<a href="./a%3Cscript%3E%26">a&lt;script&gt;&amp;</a>\n<a href="./b/">b/</a>\n<a href="./c%FF">c\ufffd</a>\n'
        "</pre>\n"
    )
    moved = await ask(tmp_path, "b")
    assert isinstance(moved, Response)
    assert (moved.status, moved.headers) == (301, {"Location": "b/"})


@pytest.mark.parametrize("path", ["none", "f/below", "x" * 300, "a\0b"])
async def test_what_is_not_there(tmp_path: Path, path: str) -> None:
    (tmp_path / "f").write_text("")
    answer = await ask(tmp_path, path)
    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (404, b"404 page not found\n")
    gone = await ask(tmp_path / "no-such-directory", "")
    assert isinstance(gone, Response)
    assert gone.status == 404
