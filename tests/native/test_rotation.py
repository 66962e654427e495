"""Logs that the shim rotates: nothing is lost, nothing is there twice, and they do not grow."""

from __future__ import annotations

import re
import threading

import pytest

from nsrun.support.crilog import parse_line
from nsrun.support.logfiles import log_files
from nsrun.support.logreader import LogReader
from nsrun.support.native import abi
from tests.native.pods import Pod, eventually

pytestmark = pytest.mark.root

LINES = 20_000
NAME = re.compile(r"c\.0\.log\.20[0-9]{6}-[0-2][0-9][0-5][0-9][0-5][0-9]")


def flood(pod: Pod, *words: str, lines: int = LINES, log_bytes: int = 0, log_files: int = 0) -> None:
    """Starts a container that writes numbered lines as fast as it can."""
    plan = pod.finished(pod.plan("c.0"), *words, "flood", str(lines), "say", "the end")
    started = pod.launch("c.0", plan, log_bytes=log_bytes, log_files=log_files)
    assert started.kind == abi.NS_MSG_DONE


def number(line: bytes) -> int:
    return int(parse_line(line).content.split()[1])


def expect_all(lines: list[bytes], *, first: int = 0) -> None:
    assert parse_line(lines[-1]).content == b"the end"
    assert [number(line) for line in lines[:-1]] == list(range(first, LINES))


def test_every_line_once_and_in_order(pod: Pod) -> None:
    flood(pod, log_bytes=20_000, log_files=10_000)
    pod.client.exit_of("c.0")
    files = log_files(pod.log_path("c.0"))
    assert len(files) > 10
    for path in files[:-1]:
        assert NAME.fullmatch(path.name)
        assert 20_000 <= path.stat().st_size < 60_000, "rotated as soon as it is full, and never written to again"
        assert path.stat().st_mode & 0o777 == 0o640
    with LogReader(pod.log_path("c.0")) as reader:
        expect_all(list(reader.lines(lambda: False)))


@pytest.mark.parametrize("most", [2, 3, 7])
def test_so_many_files_and_no_more(pod: Pod, most: int) -> None:
    """The oldest go; what stays has no gap."""
    (pod.base / "logs/c.1.log.20250101-000000").touch()
    (pod.base / "logs/c.0.log.20250101-000000.gz").touch()
    flood(pod, log_bytes=10_000, log_files=most)
    pod.client.exit_of("c.0")
    files = log_files(pod.log_path("c.0"))
    assert len(files) == most
    with LogReader(pod.log_path("c.0")) as reader:
        lines = list(reader.lines(lambda: False))
    assert len(lines) < LINES
    expect_all(lines, first=number(lines[0]))
    assert len(list((pod.base / "logs").glob("c.*.log.2025*"))) == 2, "others' files stay"


def test_without_a_limit_nothing_is_rotated(pod: Pod) -> None:
    flood(pod)
    pod.client.exit_of("c.0")
    assert log_files(pod.log_path("c.0")) == [pod.log_path("c.0")]


def test_the_longest_lines(pod: Pod) -> None:
    """A file's end may lie between the parts of one line, and nowhere inside of one."""
    plan = pod.finished(pod.plan("c.0"), *("put", "100000", "say", "") * 5)
    pod.launch("c.0", plan, log_bytes=1, log_files=1000)
    pod.client.exit_of("c.0")
    with LogReader(pod.log_path("c.0")) as reader:
        records = [parse_line(line) for line in reader.lines(lambda: False)]
    assert len(log_files(pod.log_path("c.0"))) > 30
    assert b"".join(r.content + (b"" if r.partial else b"\n") for r in records) == (b"x" * 100_000 + b"\n") * 5


def test_several_in_one_second(pod: Pod) -> None:
    """Each has a name of its own, and the order holds."""
    flood(pod, log_bytes=20_000, log_files=10_000)
    pod.client.exit_of("c.0")
    stamps = [path.name for path in log_files(pod.log_path("c.0"))[:-1]]
    assert len(set(stamps)) == len(stamps) > 10
    assert stamps == sorted(stamps)


def test_followers_miss_nothing(plain_pod: Pod) -> None:
    pod = plain_pod
    flood(pod, "say", "line 0 up", "await", log_bytes=50_000, log_files=10_000)
    eventually(lambda: pod.log_path("c.0").stat().st_size > 0, "it can be told to go on")
    found: list[list[bytes]] = [[], [], []]
    ended = threading.Event()

    def follow(lines: list[bytes]) -> None:
        with LogReader(pod.log_path("c.0")) as reader:
            lines += reader.lines(lambda: not ended.wait(0.001))

    threads = [threading.Thread(target=follow, args=(lines,)) for lines in found]
    for thread in threads:
        thread.start()
    pod.proceed("c.0")
    pod.client.exit_of("c.0")
    ended.set()
    for thread in threads:
        thread.join()
    for lines in found:
        expect_all(lines[1:])


def test_a_log_that_was_taken_away_begins_again(pod: Pod) -> None:
    words = ("say", "one", "await", "put", "5000", "say", "", "say", "two", "await", "say", "three")
    pod.launch("c.0", pod.finished(pod.plan("c.0"), *words), log_bytes=1000, log_files=3)
    eventually(lambda: pod.log_path("c.0").read_bytes().endswith(b"one\n"), "the first line")
    pod.log_path("c.0").unlink()
    pod.proceed("c.0")
    eventually(lambda: pod.log_path("c.0").exists(), "a new file")
    pod.proceed("c.0")
    pod.client.exit_of("c.0")
    assert [record.content for record in pod.log("c.0")] == [b"three"]


def test_killed_at_any_moment(plain_pod: Pod) -> None:
    """What the shim had read is in the files, whole."""
    pod = plain_pod
    flood(pod, lines=100_000_000, log_bytes=20_000, log_files=100_000)
    eventually(lambda: len(log_files(pod.log_path("c.0"))) > 50, "some rotations")
    pod.kill_shim()
    with LogReader(pod.log_path("c.0")) as reader:
        lines = list(reader.lines(lambda: False))
    assert [number(line) for line in lines] == list(range(len(lines)))
    assert len(lines) > 5000


def test_requests_that_make_no_sense(plain_pod: Pod) -> None:
    pod = plain_pod
    for files in (0, 1):
        answer = pod.launch("c.0", pod.finished(pod.plan("c.0"), "exit", "0"), log_bytes=1000, log_files=files)
        assert answer.kind == abi.NS_MSG_FAILED
        assert answer.failure is not None
        assert (answer.failure.step, answer.failure.errno) == (abi.NS_STEP_REQUEST, 22)
