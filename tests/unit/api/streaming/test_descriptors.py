"""Pipes and terminals that do not block."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from nsrun.api.streaming.descriptors import DescriptorReader, write_all
from nsrun.support.fds import Fd

Ends = tuple[Fd, Fd]


@pytest.fixture
def pipe() -> Iterator[Ends]:
    reader, writer = map(Fd, os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    yield reader, writer
    reader.close()
    writer.close()


async def test_a_reader_waits_for_bytes_and_sees_the_end(pipe: Ends) -> None:
    source, target = pipe
    reader = DescriptorReader(source.fileno())
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(reader.read())
        await asyncio.sleep(0)
        os.write(target.fileno(), b"hello")
        assert await reading == b"hello"
        reading = group.create_task(reader.read())
        await asyncio.sleep(0)
        target.close()
        assert await reading == b""


async def test_a_reader_that_finishes_takes_what_is_there_and_waits_for_no_more(pipe: Ends) -> None:
    source, target = pipe
    reader = DescriptorReader(source.fileno())
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(reader.read())
        await asyncio.sleep(0)
        reader.finish()
        assert await reading == b""
    os.write(target.fileno(), b"the last words")
    assert await reader.read() == b"the last words"
    assert await reader.read() == b""


async def test_a_terminal_that_nobody_has_open_any_more_is_at_its_end() -> None:
    master, slave = map(Fd, os.openpty())
    os.set_blocking(master.fileno(), False)
    os.write(slave.fileno(), b"x")
    slave.close()
    reader = DescriptorReader(master.fileno())
    assert [await reader.read(), await reader.read()] == [b"x", b""]
    with pytest.raises(BrokenPipeError):
        await write_all(master.fileno(), b"y" * 1_000_000)
    master.close()


async def test_a_writer_waits_for_its_reader(pipe: Ends) -> None:
    source, target = pipe
    reader, data = DescriptorReader(source.fileno()), os.urandom(500_000)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write_all(target.fileno(), data))
        got = b""
        while len(got) < len(data):
            got += await reader.read()
        await writing
    assert got == data


async def test_a_writer_learns_that_nobody_reads(pipe: Ends) -> None:
    source, target = pipe
    source.close()
    with pytest.raises(BrokenPipeError):
        await write_all(target.fileno(), b"x")


async def test_other_failures_are_not_an_end(pipe: Ends) -> None:
    source, target = pipe
    with pytest.raises(OSError, match="Bad file descriptor"):
        await DescriptorReader(target.fileno()).read()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await write_all(source.fileno(), b"x")
