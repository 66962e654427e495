"""Killing from a list of pids: nobody else is hit, nothing is missed, and it ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from nsrun.runtime.cgroup_kill import kill_one_by_one
from tests.waiting import PATIENCE


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def listing(*answers: set[int]) -> Callable[[], set[int]]:
    """What the list says each time it is read; the last answer stays."""
    remaining = list(answers)
    return lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def ignore(frozen: bool) -> None:
    """No freezer."""


def soon() -> float:
    return time.monotonic() + 10


def test_who_left_the_list_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    """The number was read, its process ended, somebody else got the number: that is not ours to kill."""
    assert kill_one_by_one(listing({sleeper.pid}, set()), ignore, soon())
    assert sleeper.poll() is None


def test_who_stays_on_the_list_is(sleeper: subprocess.Popen[bytes]) -> None:
    assert kill_one_by_one(listing({sleeper.pid}, {sleeper.pid}, set()), ignore, soon())
    assert sleeper.wait(10 * PATIENCE) == -9


def test_who_comes_later_is_killed_too(sleeper: subprocess.Popen[bytes]) -> None:
    with subprocess.Popen(["sleep", "1000"]) as second:
        first, both = {sleeper.pid}, {sleeper.pid, second.pid}
        assert kill_one_by_one(listing(first, both, {second.pid}, {second.pid}, set()), ignore, soon())
        assert second.wait(10 * PATIENCE) == -9


def test_it_gives_up_at_the_deadline(sleeper: subprocess.Popen[bytes]) -> None:
    assert not kill_one_by_one(listing({sleeper.pid}), ignore, time.monotonic() - 1)


def test_the_clock_stands_still_only_while_the_list_is_read(sleeper: subprocess.Popen[bytes]) -> None:
    calls: list[object] = []
    answers = listing({sleeper.pid}, {sleeper.pid}, set())

    def pids() -> set[int]:
        calls.append("read")
        return answers()

    kill_one_by_one(pids, calls.append, soon())
    assert calls == [True, "read", "read", False, True, "read", False, "read"]
