"""Whose a process is, where no cgroup says it.

Every container has a mount namespace of its own, and in it, at the place where others see their cgroups, a mount that
is called as its cgroup would be. Who cannot mount can neither take it away nor make one; a copy of the namespace
(unshare(2)) has it too. So the name follows from the run, survives nsrun, and is found again in /proc (proc(5),
mountinfo). A process that has been given CAP_SYS_ADMIN can leave the mount behind; what ends it then is its process
namespace, or its shim.

Everything here blocks, and costs a look at every process of the machine that nsrun may look into.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["Marks", "mark_of"]

_PROC = Path("/proc")


def mark_of(mountinfo: str, root: str) -> str:
    """``/proc/PID/mountinfo`` → the name, below ``root``, that the mount namespace is marked with; empty for none."""
    start = f"{root}/"
    for line in mountinfo.splitlines():
        kind, _, source = line.partition(" - ")[2].partition(" ")
        if kind == "tmpfs" and source.startswith(start):
            return source.partition(" ")[0].removeprefix(start)
    return ""


class Marks:
    """Looks for marks below ``root``. Invariant: what one look finds out about a mount namespace is forgotten with it:
    the kernel gives the number of one that is gone to the next."""

    def __init__(self, root: str, *, proc: Path = _PROC) -> None:
        self._root = root
        self._proc = str(proc)

    def find(self) -> Mapping[str, set[int]]:
        """Living processes by the name that they are marked with."""
        own = self._namespace("self")
        names = {own: ""} if own else {}
        found: dict[str, set[int]] = defaultdict(set)
        for pid in self._pids():
            place = self._place(pid)
            if place is None:
                continue
            task, namespace = place
            name = names.get(namespace)
            if name is None:
                name = self._name(task)
            if name is None:
                continue  # it has just ended, and says nothing of who else is there
            names[namespace] = name
            if name:
                found[name].add(pid)
        return found

    def pids(self, name: str, *, below: bool = False) -> set[int]:
        """Of one name, or of all that begin with it (``below``)."""
        found = self.find()
        return {
            pid for known, pids in found.items() if known == name or (below and known.startswith(name)) for pid in pids
        }

    def _pids(self) -> Iterator[int]:
        return (int(name) for name in os.listdir(self._proc) if name.isdecimal())

    def _place(self, pid: int) -> tuple[str, str] | None:
        """A task of the process, and its mount namespace. The first thread may have ended before the others: then it
        has none any more, and they have."""
        try:
            return f"{pid}", os.readlink(f"{self._proc}/{pid}/ns/mnt")
        except PermissionError:
            return None  # somebody else's
        except OSError:
            pass
        try:
            others = os.listdir(f"{self._proc}/{pid}/task")
        except OSError:
            return None
        tasks = (f"{pid}/task/{tid}" for tid in others if tid != str(pid))
        return next(((task, place) for task in tasks if (place := self._namespace(task))), None)

    def _namespace(self, task: str) -> str:
        try:
            return os.readlink(f"{self._proc}/{task}/ns/mnt")
        except OSError:
            return ""

    def _name(self, task: str) -> str | None:
        """None: nobody knows."""
        try:
            return mark_of(Path(self._proc, task, "mountinfo").read_text(errors="replace"), self._root)
        except OSError:
            return None
