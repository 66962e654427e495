"""A file that is read while it is written."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsrun.images.growth import BlobReader, Growth, ReadCancelled, Restarted
from nsrun.support.fds import Fd
from tests.waiting import fewer


class Growing:
    """A file and how far it is."""

    def __init__(self) -> None:
        self.fd = Fd(os.memfd_create("growing"))
        self.growth = Growth()
        self.size = 0

    def add(self, data: bytes) -> None:
        os.pwrite(self.fd.fileno(), data, self.size)
        self.size += len(data)
        self.growth.grow(self.size)

    def reader(self) -> BlobReader:
        return BlobReader(Fd(os.dup(self.fd.fileno())), self.growth)


def read_all(reader: BlobReader, size: int) -> bytes:
    return b"".join(iter(lambda: reader.read(size), b""))


@settings(deadline=None, max_examples=fewer(50))
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20), st.integers(1, 500))
def test_a_reader_gets_all_of_it_however_it_comes(pieces: list[bytes], size: int) -> None:
    growing = Growing()
    with growing.fd, growing.reader() as reader, ThreadPoolExecutor(1) as threads:
        got = threads.submit(read_all, reader, size)
        for piece in pieces:
            growing.add(piece)
        growing.growth.end(whole=True)
        assert got.result(10) == b"".join(pieces)


def test_what_is_not_said_to_be_there_is_not_read() -> None:
    growing = Growing()
    with growing.fd, growing.reader() as reader:
        os.pwrite(growing.fd.fileno(), b"not yet", 0)
        growing.growth.grow(3)
        assert reader.read(100) == b"not"


def test_readers_begin_anew_with_the_file() -> None:
    growing = Growing()
    with growing.fd, growing.reader() as reader:
        growing.add(b"old")
        assert reader.read(2) == b"ol"
        growing.growth.restart()
        growing.size = 0
        growing.add(b"new bytes")
        with pytest.raises(Restarted):
            reader.read(100)
        reader.rewind()
        assert reader.read(100) == b"new bytes"


@pytest.mark.parametrize("how", ["cancelled", "broken off"])
def test_who_waits_in_vain_is_told(how: str) -> None:
    growing = Growing()
    waiting = threading.Event()
    with growing.fd, growing.reader() as reader, ThreadPoolExecutor(1) as threads:

        def wait() -> bytes:
            waiting.set()
            return reader.read(1)

        got = threads.submit(wait)
        waiting.wait()
        if how == "cancelled":
            reader.cancel()
        else:
            growing.growth.end(whole=False)
        with pytest.raises(ReadCancelled):
            got.result(10)


def test_a_file_that_is_whole_needs_nobody_who_lets_it_grow() -> None:
    growing = Growing()
    growing.add(b"content")
    with BlobReader(growing.fd) as reader:
        assert read_all(reader, 3) == b"content"
        reader.cancel()
        with pytest.raises(ReadCancelled):
            reader.read(1)
