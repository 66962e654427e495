"""Ending everything in a cgroup, whatever it forks meanwhile, and waiting until nothing is left.

cgroup v2 has one atomic word for it, ``cgroup.kill`` (Linux 5.14). v1 has none: the freezer, where there is one, stops
the clock, then every process is killed through a pidfd that was checked after it was opened. Without either, processes
are stopped one by one until no new one turns up.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from nsrun.runtime.cgroup_tree import write_file
from nsrun.support.fds import Fd

__all__ = ["kill_by_file", "kill_one_by_one", "parse_flat", "stop_one_by_one"]


def parse_flat(text: str) -> dict[str, int]:
    """A flat keyed file (``cgroup.events``, ``memory.events``, ``memory.oom_control``) as a mapping."""
    pairs = (line.split(" ", 1) for line in text.splitlines() if " " in line)
    return {key: int(value) for key, value in pairs if value.strip().isdigit()}


def kill_by_file(cgroup: Fd, deadline: float) -> bool:
    """Kills a v2 cgroup and all below it; True once it is empty, False at ``deadline`` (monotonic). Raises OSError."""
    write_file(cgroup, "cgroup.kill", "1")
    with Fd.open("cgroup.events", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=cgroup.fileno()) as events:
        poller = select.poll()
        poller.register(events.fileno(), select.POLLPRI)
        while True:
            # Reading arms the notification: a change after this read ends the next poll at once.
            content = os.pread(events.fileno(), 4096, 0).decode("ascii")
            if parse_flat(content).get("populated", 0) == 0:
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            poller.poll(left * 1000)


def kill_one_by_one(pids: Callable[[], set[int]], freeze: Callable[[bool], None], deadline: float) -> bool:
    """Kills what ``pids`` tells, again and again until it tells nothing; True then, False at ``deadline`` (monotonic).

    ``freeze(True)`` keeps them from forking while the list is read, ``freeze(False)`` lets them die.
    """
    while True:
        freeze(True)
        try:
            held = _open_listed(pids)
            for pidfd in held.values():
                _send(pidfd, signal.SIGKILL)
        finally:
            freeze(False)
        if not held and not pids():
            return True
        if not _wait_for_ends(list(held.values()), deadline):
            return False


def stop_one_by_one(pids: Callable[[], set[int]], deadline: float) -> None:
    """Stops what ``pids`` tells until it tells nobody new, or until ``deadline`` (monotonic): who is stopped forks no
    more."""
    stopped: set[int] = set()
    while time.monotonic() < deadline:
        fresh = _open_listed(lambda: pids() - stopped)
        if not fresh:
            return
        for pid, pidfd in fresh.items():
            _send(pidfd, signal.SIGSTOP)
            pidfd.close()
            stopped.add(pid)


def _open_listed(pids: Callable[[], set[int]]) -> dict[int, Fd]:
    """Pidfds of those that are listed after they were opened: no number can have gone to somebody else by then."""
    opened: dict[int, Fd] = {}
    for pid in pids():
        try:
            opened[pid] = Fd(os.pidfd_open(pid))
        except OSError:
            continue
    listed = pids() if opened else set()
    for pid in opened.keys() - listed:
        opened.pop(pid).close()
    return opened


def _send(pidfd: Fd, number: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd.fileno(), number)
    except ProcessLookupError:
        pass


def _wait_for_ends(pidfds: list[Fd], deadline: float) -> bool:
    """Closes ``pidfds`` once their processes have ended; False when one has not by ``deadline``."""
    try:
        for pidfd in pidfds:
            poller = select.poll()
            poller.register(pidfd.fileno(), select.POLLIN)
            if not poller.poll(max(deadline - time.monotonic(), 0) * 1000):
                return False
        return time.monotonic() < deadline
    finally:
        for pidfd in pidfds:
            pidfd.close()
