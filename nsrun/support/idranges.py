"""Ranges of user and group ids for pods with a user namespace of their own, and whose they are.

A range is held by a file named after its first id, with the pod's UID in it: made in one step, so that no two pods get
the same one, and found again after a restart. They die with the boot, as the namespaces do.

Ranges lie where systemd's registry of ids (systemd.io, UIDS-GIDS) puts those of containers, far above what /etc/subuid
usually hands out; what it does hand out is left alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COUNT", "IdRange", "IdRanges", "parse_subordinate"]

COUNT = 65536
"""Ids in a range: those that programs know."""
_FIRST, _LAST = 1 << 30, (1 << 30) + 4095 * COUNT
_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdRange:
    """Ids from ``first`` on, ``count`` of them."""

    first: int
    count: int = COUNT

    def overlaps(self, other: IdRange) -> bool:
        return self.first < other.first + other.count and other.first < self.first + self.count


def parse_subordinate(text: str) -> Iterator[IdRange]:
    """subuid(5): ``name:first:count``; lines that are anything else are skipped."""
    for line in text.splitlines():
        fields = line.strip().split(":")
        if len(fields) == 3 and all(field.isascii() and field.isdigit() for field in fields[1:]):
            yield IdRange(first=int(fields[1]), count=int(fields[2]))


class IdRanges:
    """The book, kept in ``directory``, which is made when needed. Blocks; several threads may use it, and several
    books of one directory."""

    def __init__(self, directory: Path, *, subordinate: Iterable[Path] = _SUBORDINATE) -> None:
        self._directory = directory
        self._subordinate = tuple(subordinate)

    def acquire(self, uid: str) -> IdRange:
        """The pod's range, the same at every call. Raises OSError (EUSERS) when there is none left."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = self.find(uid)
        if held is not None:
            return held
        taken = [*self._handed_out(), *(found for found, _ in self._entries())]
        for first in range(_FIRST, _LAST + 1, COUNT):
            wanted = IdRange(first=first)
            if not any(wanted.overlaps(other) for other in taken) and self._take(wanted, uid):
                return wanted
        raise OSError(errno.EUSERS, os.strerror(errno.EUSERS), str(self._directory))

    def find(self, uid: str) -> IdRange | None:
        """The pod's range, None when it has none."""
        return next((found for found, owner in self._entries() if owner == uid), None)

    def release(self, uid: str) -> None:
        """Gives the pod's range back; it need not have one."""
        for found, owner in self._entries():
            if owner == uid:
                (self._directory / str(found.first)).unlink(missing_ok=True)

    def _take(self, wanted: IdRange, uid: str) -> bool:
        """By a link, which is there with its content or not at all."""
        temporary = self._directory / f".{os.getpid()}-{wanted.first}-{os.urandom(4).hex()}"
        try:
            temporary.write_text(uid)
            os.link(temporary, self._directory / str(wanted.first))
            return True
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)

    def _entries(self) -> Iterator[tuple[IdRange, str]]:
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return
        for name in names:
            if name.isascii() and name.isdigit():
                try:
                    yield IdRange(first=int(name)), (self._directory / name).read_text()
                except FileNotFoundError:
                    continue  # released meanwhile

    def _handed_out(self) -> Iterator[IdRange]:
        for path in self._subordinate:
            try:
                yield from parse_subordinate(path.read_text())
            except (OSError, UnicodeDecodeError):
                continue
