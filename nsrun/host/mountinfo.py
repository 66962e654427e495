"""``/proc/self/mountinfo`` (proc_pid_mountinfo(5)) as values."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Mount", "parse_mountinfo"]

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount. ``root``: which directory of the file system is visible at ``point``; ``options``: of this mount;
    ``super_options``: of the file system; ``propagation``: ``shared:1``, ``master:2`` …, empty for a private one."""

    id: int
    root: str
    point: str
    options: frozenset[str]
    type: str
    source: str
    super_options: frozenset[str]
    propagation: frozenset[str] = frozenset()

    @property
    def writable(self) -> bool:
        return "rw" in self.options and "rw" in self.super_options


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Every mount, in the kernel's order: of two on one point, the later one is visible. Unreadable lines are left
    out."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        try:
            end = fields.index("-", 6)
            mounts.append(
                Mount(
                    id=int(fields[0]),
                    root=_plain(fields[3]),
                    point=_plain(fields[4]),
                    options=frozenset(fields[5].split(",")),
                    type=fields[end + 1],
                    source=_plain(fields[end + 2]),
                    super_options=frozenset(fields[end + 3].split(",")),
                    propagation=frozenset(fields[6:end]),
                )
            )
        except (ValueError, IndexError):
            continue
    return tuple(mounts)


def _plain(field: str) -> str:
    """The kernel writes blanks, tabs, newlines and backslashes in octal."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
