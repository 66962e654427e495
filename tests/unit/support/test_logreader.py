"""Reading a log of several files, and following it while it is rotated."""

from __future__ import annotations

import io
import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsrun.support.logreader import LogReader, tail_offset


class Writer:
    """Writes numbered lines and rotates, as the shim does."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.count = 0
        self.rotations = 0
        self.file = log.open("ab", buffering=0)

    def write(self, lines: int) -> None:
        for _ in range(lines):
            self.file.write(b"%d\n" % self.count)
            self.count += 1

    def rename(self) -> None:
        self.rotations += 1
        self.log.rename(f"{self.log}.20260101-{self.rotations:06}")

    def begin(self) -> None:
        self.file.close()
        self.file = self.log.open("ab", buffering=0)

    def rotate(self) -> None:
        self.rename()
        self.begin()

    def prune(self) -> None:
        """Only one rotated file stays."""
        for path in sorted(self.log.parent.glob(f"{self.log.name}.*"))[:-1]:
            path.unlink()

    def do(self, words: str) -> None:
        """``"3 rotate 1"``: three lines, a rotation, a line."""
        for word in words.split():
            if word.isdigit():
                self.write(int(word))
            else:
                getattr(self, word)()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    writer = Writer(tmp_path / "0.log")
    yield writer
    writer.file.close()


def never() -> bool:
    return False


def numbers(lines: Iterator[bytes]) -> list[int]:
    return [int(line) for line in lines]


def stepwise(writer: Writer, *steps: str) -> Callable[[], bool]:
    """Does the next step each time the reader waits; then it is over."""
    left = iter(steps)

    def wait() -> bool:
        for step in left:
            writer.do(step)
            return True
        return False

    return wait


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LogReader(tmp_path / "0.log")


def test_every_file_oldest_first(writer: Writer) -> None:
    for _ in range(3):
        writer.write(5)
        writer.rotate()
    writer.write(5)
    before = len(os.listdir("/proc/self/fd"))
    with LogReader(writer.log) as reader:
        assert not reader.empty()
        assert numbers(reader.lines(never)) == list(range(20))
    assert len(os.listdir("/proc/self/fd")) == before


def test_empty(writer: Writer) -> None:
    with LogReader(writer.log) as reader:
        assert reader.empty()
        assert list(reader.lines(never)) == []


@pytest.mark.parametrize("wanted", [0, 1, 5, 6, 12, 20, 100])
def test_the_tail_of_several_files(writer: Writer, wanted: int) -> None:
    for _ in range(3):
        writer.write(5)
        writer.rotate()
    writer.write(5)
    with LogReader(writer.log) as reader:
        reader.skip_to_tail(wanted)
        assert numbers(reader.lines(never)) == list(range(max(0, 20 - wanted), 20))


def test_followed_across_rotations(writer: Writer) -> None:
    """Also when there are several between two looks, and when it is looked at halfway through one."""
    writer.write(3)
    with LogReader(writer.log) as reader:
        steps = (
            "2",
            "1 rotate 1",
            "rotate 2 rotate rotate 1",
            "rename",
            "1",
            "begin",
            "1",
            "rotate 1 rotate 1 prune",
        )
        found = numbers(reader.lines(stepwise(writer, *steps)))
    assert found == list(range(writer.count)), "what it had open was read though it was deleted"


def test_ended_while_it_is_rotated(writer: Writer) -> None:
    with LogReader(writer.log) as reader:

        def wait() -> bool:
            writer.do("1 rotate 1")
            return False

        assert numbers(reader.lines(wait)) == [0, 1, 2, 3][: writer.count]


def test_a_torn_line_joins_nothing(writer: Writer) -> None:
    writer.write(1)
    writer.file.write(b"77")
    writer.rotate()
    writer.write(1)
    with LogReader(writer.log) as reader:
        assert numbers(reader.lines(never)) == [0, 1]


@pytest.mark.parametrize("seed", range(30))
def test_at_random(writer: Writer, seed: int) -> None:
    chance = random.Random(seed)
    writer.write(chance.randrange(10))
    with LogReader(writer.log) as reader:
        steps = (chance.choice(("1", "4", "rotate", "2 rotate 1 rotate")) for _ in range(50))
        found = numbers(reader.lines(stepwise(writer, *steps)))
    assert found == list(range(writer.count))


@pytest.mark.parametrize("ending", [b"\n", b""])
@pytest.mark.parametrize("wanted", [0, 1, 2, 5, 9])
def test_the_tail_begins_at_a_line(wanted: int, ending: bytes) -> None:
    text = b"\n".join(b"line %d" % n for n in range(5)) + ending
    offset, missing = tail_offset(io.BytesIO(text), wanted)
    assert text[offset:].count(b"line") == min(wanted, 5)
    assert missing == max(0, wanted - 5)
    assert offset == 0 or text[offset - 1 : offset] == b"\n" or offset == len(text)


def test_the_tail_of_a_file_of_many_blocks() -> None:
    text = b"".join(b"%0100d\n" % n for n in itertools.islice(itertools.count(), 5000))
    offset, missing = tail_offset(io.BytesIO(text), 3000)
    assert (text[offset:].count(b"\n"), missing) == (3000, 0)
    assert tail_offset(io.BytesIO(b""), 3) == (0, 3)


def test_blocks_are_whole_lines(writer: Writer) -> None:
    writer.write(100_000)
    writer.file.write(b"unfinished")
    found = b""
    with LogReader(writer.log) as reader:
        while block := bytes(reader.read()):
            assert block.endswith(b"\n")
            assert len(block) <= 1 << 18
            found += block
        assert found.split(b"\n") == [*(b"%d" % number for number in range(100_000)), b""]
        writer.file.write(b" no more\n")
        assert bytes(reader.read()) == b"unfinished no more\n"
        assert bytes(reader.read()) == b""
        assert os.fstat(reader.fileno()).st_ino == writer.log.stat().st_ino


def test_a_line_without_end_needs_no_room(writer: Writer) -> None:
    writer.write(1)
    writer.file.write(b"x" * (1 << 20) + b"\n")
    writer.write(1)
    with LogReader(writer.log) as reader:
        found = list(reader.lines(never))
    assert (found[0], found[-1]) == (b"0", b"1")
    assert sum(map(len, found)) < 1 << 19
