"""The user namespace that this process is in, as far as the kernel makes a difference (user_namespaces(7)).

In the initial one root may do what it has capabilities for. In any other, root has every capability, but over what
belongs to that namespace only: no device node can be made, ids end where its maps end, extended attributes of
``trusted.*`` and mounts that show other owners are out of reach.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["UserNamespace", "own_user_namespace", "parse_count"]

_PROC = Path("/proc/self")
_INITIAL = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h
_EVERYBODY = (1 << 32) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class UserNamespace:
    """``uids``, ``gids``: how many there are, from 0 on without a gap. ``groups``: whether setgroups(2) is allowed,
    which it is not where an unprivileged process wrote the map."""

    uids: int
    gids: int
    groups: bool

    @property
    def is_single(self) -> bool:
        """Whether there is nobody but root: without ranges in /etc/subuid."""
        return self.uids == 1 or self.gids == 1


def own_user_namespace(proc: Path = _PROC) -> UserNamespace | None:
    """Of this process; None for the initial one. Never fails: what cannot be read counts as the initial one's."""
    try:
        if os.stat(proc / "ns/user").st_ino == _INITIAL:
            return None
    except OSError:
        return None
    return UserNamespace(
        uids=parse_count(_read(proc / "uid_map")),
        gids=parse_count(_read(proc / "gid_map")),
        groups=_read(proc / "setgroups").strip() != "deny",
    )


def parse_count(text: str) -> int:
    """``/proc/self/uid_map`` → how many ids there are from 0 on, up to the first gap; all of them for an empty text.
    The lines may come in any order."""
    if not text.strip():
        return _EVERYBODY
    lines = (line.split() for line in text.splitlines())
    end = 0
    for first, count in sorted((int(fields[0]), int(fields[2])) for fields in lines if len(fields) == 3):
        if first > end:
            break
        end = max(end, first + count)
    return end


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
