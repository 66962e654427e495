"""Which entries of a directory changed, told at once; also when the directory is removed, replaced or not there yet."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from nsrun.errors import describe_errno
from nsrun.sources.inotify import Event, Inotify, Mask
from nsrun.support.clock import Clock

__all__ = ["Changes", "Watch"]

CONTENT = Mask.MODIFY | Mask.ATTRIB | Mask.CLOSE_WRITE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.CREATE | Mask.DELETE
WHOLE = CONTENT | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
QUIET = 1.0
"""A file that was written to and not closed is taken as written after so many seconds without another write."""
ATTEMPTS = 8
"""How often the way to a directory may change while it is being watched, before the periodic reading must do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What happened since the last time: names whose content may be another, and whether events were lost."""

    names: frozenset[str] = frozenset()
    lost: bool = False

    def __or__(self, other: Changes) -> Changes:
        return Changes(names=self.names | other.names, lost=self.lost or other.lost)


class Watch:
    """Watches one path: a directory, a file, or something that may become one.

    ``warning`` says why changes are not told at once, None while they are. ``arm`` runs in a thread, everything else in
    the event loop.
    """

    def __init__(self, path: str, *, clock: Clock) -> None:
        self.warning: str | None = None
        self._path = path
        self._clock = clock
        self._inotify: Inotify | None = None
        # Number of a watch → the only name that matters there; None: every name does.
        self._watches: dict[int, str | None] = {}
        # Names that are being written, and when they last were.
        self._writing: dict[str, float] = {}
        # Names whose content may have changed for good, and names of all events, since the last ``take``.
        self._touched: set[str] = set()
        self._stirred: set[str] = set()
        self._lost = False
        self._changed = asyncio.Event()

    def open(self) -> None:
        """Begins to listen; called again, it tries again what was not possible before."""
        if self._inotify is not None:
            return
        try:
            self._inotify = Inotify()
        except OSError as error:
            self.warning = f"cannot watch for changes: {describe_errno(error.errno or 0)}"
            return
        asyncio.get_running_loop().add_reader(self._inotify.fileno(), self._read)

    def close(self) -> None:
        if self._inotify is not None:
            asyncio.get_running_loop().remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None

    def arm(self) -> None:
        """Watches what the path leads to now. What happens after this call is told."""
        inotify = self._inotify
        if inotify is None:
            return
        for _ in range(ATTEMPTS):
            targets = _targets(self._path)
            try:
                watches = {inotify.add(directory, WHOLE): name for directory, name in targets}
                self.warning = None
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                number = error.errno if isinstance(error, OSError) else None
                self.warning = f"cannot watch for changes: {describe_errno(number or 0)}"
                return
            for stale in self._watches.keys() - watches.keys():
                inotify.remove(stale)
            self._watches = watches
            if targets == _targets(self._path):
                return

    def take(self) -> Changes:
        """The changes since the last call."""
        changes = Changes(names=frozenset(self._touched), lost=self._lost)
        self._touched.clear()
        self._stirred.clear()
        self._lost = False
        self._changed.clear()
        return changes

    def stirred(self) -> frozenset[str]:
        """Names that anything at all has happened to since the last ``take``."""
        self._read()
        return frozenset(self._stirred)

    def unsettled(self) -> frozenset[str]:
        """Names that somebody is writing to now."""
        now = self._clock.monotonic()
        self._writing = {name: at for name, at in self._writing.items() if now - at < QUIET}
        return frozenset(self._writing)

    async def wait(self, seconds: float) -> None:
        """Returns at the next change, or after ``seconds``."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                group.create_task(self._changed.wait()),
                group.create_task(self._clock.sleep(seconds)),
            }
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()

    def _read(self) -> None:
        for event in self._inotify.read() if self._inotify is not None else ():
            only = self._watches.get(event.watch)
            if event.name and only is not None and event.name != only:
                continue
            # Only the first of many writes wakes anybody; the end of them does again.
            if event.mask & ~(Mask.MODIFY | Mask.IGNORED) or event.name not in self._writing:
                self._changed.set()
            self._note(event)

    def _note(self, event: Event) -> None:
        self._stirred.add(event.name)
        if event.mask & (Mask.OVERFLOW | Mask.UNMOUNT):
            self._lost = True
        elif event.mask & (Mask.MODIFY | Mask.CREATE) and not event.mask & Mask.ISDIR:
            # CREATE: whoever created a file is about to write it. A link has its content at once: see Found.linked.
            self._writing[event.name] = self._clock.monotonic()
        elif not event.mask & Mask.ATTRIB:
            self._writing.pop(event.name, None)
        if not event.mask & Mask.MODIFY:
            self._touched.add(event.name)


def _targets(path: str) -> list[tuple[str, str | None]]:
    """Directories to watch, each with the only name in it that matters (None: every name)."""
    parent, name = os.path.split(path)
    if os.path.isdir(path):
        # The link itself can be pointed elsewhere.
        return [(parent, name), (path, None)] if os.path.islink(path) else [(path, None)]
    if os.path.isfile(path):
        # A link's content changes with other names, as when Kubernetes' ..data is swapped.
        return [(parent, None if os.path.islink(path) else name)]
    while not os.path.isdir(parent) and parent != os.path.dirname(parent):
        parent, name = os.path.split(parent)
    return [(parent, name)]
